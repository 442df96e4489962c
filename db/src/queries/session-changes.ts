import { and, eq, gte, isNull, or, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { sessions, turns } from '../schema.ts';
import { textArray } from './arrays.ts';
import { chainObjects, type Executor, lockObjects } from './kv-chain.ts';
import { retireTails } from './kv-objects.ts';
import { dropPins, pinChain } from './kv-pins.ts';
import { type SessionOwner, type SessionSummary, summary } from './sessions-read.ts';

/** What people do to a session besides taking turns: fork, truncate, change. */

const isLive = (owner: Partial<SessionOwner> & { organizationId: string }, id: string) =>
  and(
    eq(sessions.id, id),
    eq(sessions.organizationId, owner.organizationId),
    owner.projectId === undefined ? undefined : eq(sessions.projectId, owner.projectId),
    isNull(sessions.deletedAt),
    or(eq(sessions.pinned, true), sql`${sessions.expiresAt} > now()`),
  );

export interface Fork {
  id: string;
  sourceId: string;
  /** Absent: the origin's. */
  label?: string | null;
  metadata?: Record<string, string>;
  ttlSeconds?: number;
}

/**
 * A second session with the first one's tokens, transcript and cache. Rows are copied, no KV: both share the chain's blocks, and the
 * tail object, which goes when the last session lets go of it. The origin is locked meanwhile, so that a deletion of it cannot
 * retire the tail before the fork names it. Undefined when there is no such live, ready session.
 */
export async function forkSession(db: Database, owner: SessionOwner, fork: Fork): Promise<SessionSummary | undefined> {
  return db.transaction(async (tx) => {
    const [source] = await tx.select().from(sessions).where(isLive(owner, fork.sourceId)).for('update');
    if (source?.status !== 'ready') return undefined;
    const ttlSeconds = fork.ttlSeconds ?? source.ttlSeconds;
    const [row] = await tx
      .insert(sessions)
      .values({
        id: fork.id,
        organizationId: source.organizationId,
        projectId: source.projectId,
        model: source.model,
        status: 'ready',
        label: fork.label === undefined ? source.label : fork.label,
        metadata: fork.metadata ?? source.metadata,
        tokenCount: source.tokenCount,
        turnCount: source.turnCount,
        sealedTokens: source.sealedTokens,
        sealedTranscript: source.sealedTranscript,
        sealedFor: source.sealedFor ?? source.id,
        forkedFrom: source.id,
        headHash: source.headHash,
        tailObjectKey: source.tailObjectKey,
        workerId: source.workerId,
        ttlSeconds,
        expiresAt: sql`now() + ${ttlSeconds} * interval '1 second'`,
      })
      .returning(summary);
    const copied = tx.select().from(turns).where(eq(turns.sessionId, source.id));
    const rows = await copied;
    if (rows.length > 0) await tx.insert(turns).values(rows.map((turn) => ({ ...turn, sessionId: fork.id })));
    if (source.headHash !== null)
      await keepObjects(tx, source.organizationId, source.headHash, source.tailObjectKey, ttlSeconds);
    return row;
  });
}

export interface SessionCut {
  organizationId: string;
  sessionId: string;
  /** The version that the cut was made from. */
  expectedVersion: number;
  tokenCount: number;
  /** Turns that are left, the prefill among them. */
  turnCount: number;
  sealedTokens: Uint8Array;
  sealedTranscript: Uint8Array;
  tailObjectKey: string | null;
  headHash: Uint8Array | null;
}

/** The new version, or undefined when a turn was committed meanwhile or the session is gone: nothing was written then. */
export async function cutSession(db: Database, cut: SessionCut): Promise<number | undefined> {
  return db.transaction(async (tx) => {
    const [before] = await tx
      .select({
        tail: sessions.tailObjectKey,
        version: sessions.version,
        status: sessions.status,
        pinned: sessions.pinned,
      })
      .from(sessions)
      .where(isLive(cut, cut.sessionId))
      .for('update');
    if (before?.status !== 'ready' || before.version !== cut.expectedVersion) return undefined;
    const version = cut.expectedVersion + 1;
    await tx
      .update(sessions)
      .set({
        tokenCount: cut.tokenCount,
        turnCount: cut.turnCount,
        sealedTokens: cut.sealedTokens,
        sealedTranscript: cut.sealedTranscript,
        sealedFor: null,
        tailObjectKey: cut.tailObjectKey,
        headHash: cut.headHash,
        version,
        lastUsedAt: sql`now()`,
      })
      .where(eq(sessions.id, cut.sessionId));
    await tx.delete(turns).where(and(eq(turns.sessionId, cut.sessionId), gte(turns.index, cut.turnCount)));
    if (before.tail !== null && before.tail !== cut.tailObjectKey) await retireTails(tx, [before.tail], 'superseded');
    if (before.pinned) {
      await dropPins(tx, cut.organizationId, cut.sessionId);
      if (cut.headHash !== null) await pinChain(tx, cut.organizationId, cut.headHash, cut.sessionId);
    }
    return version;
  });
}

export interface SessionChange {
  /** null takes the label away. */
  label?: string | null;
  /** Replaces all of it. */
  metadata?: Record<string, string>;
  /** Counts from now, and again from every later use. */
  ttlSeconds?: number;
  /** A pinned session never expires. Unpinned, it lives for its TTL from now. */
  pinned?: boolean;
}

/** The session afterwards; undefined when there is no such live session. Absent fields stay. */
export async function changeSession(
  db: Database,
  owner: SessionOwner,
  id: string,
  change: SessionChange,
): Promise<SessionSummary | undefined> {
  const { ttlSeconds, pinned, label, metadata } = change;
  const fromNow = sql`now() + ${ttlSeconds ?? sql`${sessions.ttlSeconds}`}::int * interval '1 second'`;
  return db.transaction(async (tx) => {
    const [row] = await tx
      .update(sessions)
      .set({
        id,
        ...(label === undefined ? {} : { label }),
        ...(metadata === undefined ? {} : { metadata }),
        ...(pinned === undefined ? {} : { pinned }),
        ...(ttlSeconds === undefined ? {} : { ttlSeconds, expiresAt: fromNow }),
        ...(pinned === false && ttlSeconds === undefined
          ? { expiresAt: sql`greatest(${sessions.expiresAt}, ${fromNow})` }
          : {}),
      })
      .where(isLive(owner, id))
      .returning({ ...summary, headHash: sessions.headHash, tail: sessions.tailObjectKey });
    if (row === undefined) return undefined;
    const { headHash, tail, ...session } = row;
    if (ttlSeconds !== undefined && headHash !== null)
      await keepObjects(tx, owner.organizationId, headHash, tail, ttlSeconds);
    if (pinned === true && headHash !== null) await pinChain(tx, owner.organizationId, headHash, id);
    if (pinned === false) await dropPins(tx, owner.organizationId, id);
    return session;
  });
}

/** The session's stored objects live at least as long as the session: every ancestor of the head's block, and the tail. */
async function keepObjects(
  db: Executor,
  organizationId: string,
  head: Uint8Array,
  tail: string | null,
  ttlSeconds: number,
): Promise<void> {
  const chain = await chainObjects(db, organizationId, head);
  const keys = await lockObjects(db, [...chain.map((object) => object.key), ...(tail === null ? [] : [tail])]);
  await db.execute(sql`update kv_objects set expires_at = greatest(expires_at, now() + ${ttlSeconds}::int * interval '1 second')
    where state = 'ready' and organization_id = ${organizationId} and key = any(${textArray(keys)})`);
}
