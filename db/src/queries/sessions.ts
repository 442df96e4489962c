import { and, eq, inArray, isNull, or, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { sessions, turns } from '../schema.ts';
import { retireTails } from './kv-objects.ts';
import { pinChain, retireSessionChain } from './kv-pins.ts';

/** Writes of a session's life: created by the edge, filled and continued by workers. Lists and reads for people: sessions-read.ts. */
export type SessionRow = typeof sessions.$inferSelect;
export type TurnRow = typeof turns.$inferInsert;

export interface NewSession {
  id: string;
  organizationId: string;
  projectId: string;
  model: string;
  label?: string;
  metadata?: Record<string, string>;
  ttlSeconds: number;
}

const fromNow = (seconds: number) => sql<Date>`now() + ${seconds} * interval '1 second'`;

/** In state `creating`, before the worker is asked to prefill. */
export async function createSession(db: Database, session: NewSession): Promise<SessionRow> {
  const [row] = await db
    .insert(sessions)
    .values({ ...session, status: 'creating', expiresAt: fromNow(session.ttlSeconds) })
    .returning();
  return row!;
}

/** A live session of this organization: undefined when deleted, expired or another organization's. */
export async function loadSession(db: Database, organizationId: string, id: string): Promise<SessionRow | undefined> {
  const [row] = await db
    .select()
    .from(sessions)
    .where(
      and(
        eq(sessions.id, id),
        eq(sessions.organizationId, organizationId),
        isNull(sessions.deletedAt),
        or(eq(sessions.pinned, true), sql`${sessions.expiresAt} > now()`),
      ),
    );
  return row;
}

export interface TurnCommit {
  organizationId: string;
  sessionId: string;
  /** The version the turn started from. */
  expectedVersion: number;
  workerId: string;
  /** Tokens of the whole session after this turn. */
  tokenCount: number;
  sealedTokens: Uint8Array;
  sealedTranscript: Uint8Array;
  /** null when the tokens end on a block boundary. */
  tailObjectKey: string | null;
  /** Chain hash of the last whole block that is stored; null when there is none. */
  headHash: Uint8Array | null;
  /** Turns that the tokens already held when they came from elsewhere; default: the session's. */
  turnsBefore?: number;
  turn: Omit<TurnRow, 'sessionId' | 'index' | 'workerId' | 'createdAt'>;
}

/**
 * Records a turn (the first one is the prefill, and makes the session ready) if the session still has the version the turn
 * started from; retires the tail that it replaces. Returns the new version, or undefined when another turn won or the session
 * was deleted: nothing was written then.
 */
export async function commitTurn(db: Database, commit: TurnCommit): Promise<number | undefined> {
  return db.transaction(async (tx) => {
    const [before] = await tx
      .select({ tail: sessions.tailObjectKey, turnCount: sessions.turnCount, pinned: sessions.pinned })
      .from(sessions)
      .where(
        and(
          eq(sessions.id, commit.sessionId),
          eq(sessions.organizationId, commit.organizationId),
          eq(sessions.version, commit.expectedVersion),
          inArray(sessions.status, ['creating', 'ready']),
        ),
      )
      .for('update');
    if (!before) return undefined;
    const version = commit.expectedVersion + 1;
    const turnsBefore = commit.turnsBefore ?? before.turnCount;
    await tx
      .update(sessions)
      .set({
        status: 'ready',
        tokenCount: commit.tokenCount,
        turnCount: turnsBefore + 1,
        sealedTokens: commit.sealedTokens,
        sealedTranscript: commit.sealedTranscript,
        sealedFor: null,
        tailObjectKey: commit.tailObjectKey,
        headHash: commit.headHash,
        version,
        workerId: commit.workerId,
        lastUsedAt: sql`now()`,
        expiresAt: sql`greatest(${sessions.expiresAt}, now() + ${sessions.ttlSeconds} * interval '1 second')`,
      })
      .where(eq(sessions.id, commit.sessionId));
    await tx.insert(turns).values({
      ...commit.turn,
      sessionId: commit.sessionId,
      index: turnsBefore,
      workerId: commit.workerId,
      tokenCount: commit.tokenCount,
    });
    if (before.tail !== null && before.tail !== commit.tailObjectKey)
      await retireTails(tx, [before.tail], 'superseded');
    if (before.pinned && commit.headHash !== null)
      await pinChain(tx, commit.organizationId, commit.headHash, commit.sessionId);
    return version;
  });
}

/** The first prefill failed: the session stays visible, with the reason. A ready session never becomes failed. */
export async function failSession(db: Database, organizationId: string, id: string, reason: string): Promise<boolean> {
  const rows = await db
    .update(sessions)
    .set({ status: 'failed', error: reason.slice(0, 1000) })
    .where(and(eq(sessions.id, id), eq(sessions.organizationId, organizationId), eq(sessions.status, 'creating')))
    .returning({ id: sessions.id });
  return rows.length > 0;
}

/**
 * Forgets tokens and transcript at once and retires its tail and what of its chain no other session, chain or pin needs: nothing of it is
 * billed any more. False when there is no such live session.
 */
export async function deleteSession(db: Database, organizationId: string, id: string): Promise<boolean> {
  return db.transaction(async (tx) => {
    const [before] = await tx
      .select({ tail: sessions.tailObjectKey, headHash: sessions.headHash })
      .from(sessions)
      .where(and(eq(sessions.id, id), eq(sessions.organizationId, organizationId), isNull(sessions.deletedAt)))
      .for('update');
    if (!before) return false;
    await tx
      .update(sessions)
      .set({
        status: 'deleted',
        deletedAt: sql`now()`,
        sealedTokens: null,
        sealedTranscript: null,
        tailObjectKey: null,
        headHash: null,
        version: sql`${sessions.version} + 1`,
      })
      .where(eq(sessions.id, id));
    if (before.tail !== null) await retireTails(tx, [before.tail], 'removed');
    await retireSessionChain(tx, organizationId, id, before.headHash);
    return true;
  });
}
