import { and, asc, desc, eq, isNull, or, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { sessions } from '../schema.ts';

/** Reads for people: never the sealed tokens or the transcript. */
export const summary = {
  id: sessions.id,
  organizationId: sessions.organizationId,
  projectId: sessions.projectId,
  model: sessions.model,
  status: sessions.status,
  label: sessions.label,
  metadata: sessions.metadata,
  tokenCount: sessions.tokenCount,
  turnCount: sessions.turnCount,
  version: sessions.version,
  forkedFrom: sessions.forkedFrom,
  workerId: sessions.workerId,
  error: sessions.error,
  ttlSeconds: sessions.ttlSeconds,
  pinned: sessions.pinned,
  createdAt: sessions.createdAt,
  lastUsedAt: sessions.lastUsedAt,
  expiresAt: sessions.expiresAt,
};

export type SessionSummary = Pick<typeof sessions.$inferSelect, keyof typeof summary>;

/** A project's sessions are its own: another project's key does not see them. */
export interface SessionOwner {
  organizationId: string;
  projectId: string;
}

const live = (owner: SessionOwner) =>
  and(
    eq(sessions.organizationId, owner.organizationId),
    eq(sessions.projectId, owner.projectId),
    isNull(sessions.deletedAt),
    or(eq(sessions.pinned, true), sql`${sessions.expiresAt} > now()`),
  );

/** undefined when deleted, expired or another project's. */
export async function findSession(db: Database, owner: SessionOwner, id: string): Promise<SessionSummary | undefined> {
  const [row] = await db
    .select(summary)
    .from(sessions)
    .where(and(live(owner), eq(sessions.id, id)));
  return row;
}

export interface SessionPageQuery {
  /** Sessions at most. */
  limit: number;
  /** Id of the last session of the page before; unknown ids give an empty page. */
  after?: string;
  order: 'asc' | 'desc';
}

/** By creation time, ties by id, so that a page boundary never loses or repeats a session. */
export async function listSessions(
  db: Database,
  owner: SessionOwner,
  page: SessionPageQuery,
): Promise<{ sessions: SessionSummary[]; hasMore: boolean }> {
  const direction = page.order === 'asc' ? asc : desc;
  const beyond =
    page.after === undefined
      ? undefined
      : sql`(${sessions.createdAt}, ${sessions.id}) ${page.order === 'asc' ? sql`>` : sql`<`} (
          select cursor.created_at, cursor.id from ${sessions} as cursor
          where cursor.id = ${page.after} and cursor.organization_id = ${owner.organizationId}
            and cursor.project_id = ${owner.projectId})`;
  const rows = await db
    .select(summary)
    .from(sessions)
    .where(and(live(owner), beyond))
    .orderBy(direction(sessions.createdAt), direction(sessions.id))
    .limit(page.limit + 1);
  return { sessions: rows.slice(0, page.limit), hasMore: rows.length > page.limit };
}
