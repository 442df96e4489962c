import { and, asc, desc, eq, inArray, isNotNull, isNull, lt, type SQL, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { kvObjects, leases, sessions } from '../schema.ts';
import { textArray } from './arrays.ts';
import { type RetireReason, retireTails } from './kv-objects.ts';

/** What the sweeper asks. Every call is bounded by `limit` and may run on several workers at once. */

const olderThan = (column: typeof kvObjects.createdAt | typeof kvObjects.retiredAt, seconds: number) =>
  lt(column, sql`now() - ${seconds} * interval '1 second'`);

/** Selects and retires in one statement that checks `which` again, so that an object that has just changed is left alone. */
async function retire(db: Database, which: SQL | undefined, order: SQL, limit: number, reason: RetireReason) {
  const chosen = db.select({ key: kvObjects.key }).from(kvObjects).where(which).orderBy(order).limit(limit);
  const rows = await db
    .update(kvObjects)
    .set({ state: 'tombstone', retiredAt: sql`now()`, retiredReason: reason })
    .where(and(inArray(kvObjects.key, chosen), which))
    .returning({ key: kvObjects.key });
  return rows.length;
}

/** Reservations older than `seconds`: their publisher died or gave up. */
export async function retireAbandoned(db: Database, seconds: number, limit: number): Promise<number> {
  const which = and(eq(kvObjects.state, 'reserved'), olderThan(kvObjects.createdAt, seconds));
  return retire(db, which, sql`${kvObjects.createdAt}`, limit, 'abandoned');
}

/** Objects past their expiry, the deepest of a chain first: without its parents a block is of no use. */
export async function retireExpired(db: Database, limit: number): Promise<number> {
  const which = and(eq(kvObjects.state, 'ready'), isNull(kvObjects.sessionId), sql`${kvObjects.expiresAt} <= now()`);
  return retire(db, which, sql`${kvObjects.expiresAt}, ${kvObjects.firstToken} desc`, limit, 'expired');
}

/** Tails that no session names, `seconds` after they were written: the turn that made them never committed. */
export async function retireOrphanTails(db: Database, seconds: number, limit: number): Promise<number> {
  const which = and(
    eq(kvObjects.state, 'ready'),
    isNotNull(kvObjects.sessionId),
    olderThan(kvObjects.createdAt, seconds),
    sql`not exists (select 1 from ${sessions} where ${sessions.tailObjectKey} = ${kvObjects.key})`,
  );
  return retire(db, which, sql`${kvObjects.createdAt}`, limit, 'orphan_tail');
}

/** Sessions past their expiry and not pinned: tokens and transcript are forgotten, the tail is retired. */
export async function expireSessions(db: Database, limit: number): Promise<number> {
  return db.transaction(async (tx) => {
    const rows = await tx
      .select({ id: sessions.id, tail: sessions.tailObjectKey })
      .from(sessions)
      .where(and(isNull(sessions.deletedAt), eq(sessions.pinned, false), sql`${sessions.expiresAt} <= now()`))
      .orderBy(asc(sessions.expiresAt))
      .limit(limit)
      .for('update', { skipLocked: true });
    if (rows.length === 0) return 0;
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
      .where(
        inArray(
          sessions.id,
          rows.map((row) => row.id),
        ),
      );
    await retireTails(
      tx,
      rows.flatMap((row) => row.tail ?? []),
      'expired',
    );
    return rows.length;
  });
}

/** Keys whose grace is over: their bytes may be deleted, then their rows. Deepest first. */
export async function findDeletable(db: Database, graceSeconds: number, limit: number): Promise<string[]> {
  const rows = await db
    .select({ key: kvObjects.key })
    .from(kvObjects)
    .where(and(inArray(kvObjects.state, ['tombstone', 'quarantined']), olderThan(kvObjects.retiredAt, graceSeconds)))
    .orderBy(asc(kvObjects.retiredAt), desc(kvObjects.firstToken))
    .limit(limit);
  return rows.map((row) => row.key);
}

/** Last step of the delete order, after the bytes are gone. Block rows that still point here go with it. */
export async function deleteObjectRows(db: Database, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return;
  await db
    .delete(kvObjects)
    .where(
      and(sql`${kvObjects.key} = any(${textArray(keys)})`, inArray(kvObjects.state, ['tombstone', 'quarantined'])),
    );
}

/** Of these keys, those that no row names in any state. */
export async function findUnknownKeys(db: Database, keys: readonly string[]): Promise<string[]> {
  if (keys.length === 0) return [];
  const rows = await db
    .select({ key: kvObjects.key })
    .from(kvObjects)
    .where(sql`${kvObjects.key} = any(${textArray(keys)})`);
  const known = new Set(rows.map((row) => row.key));
  return keys.filter((key) => !known.has(key));
}

/** Lease rows that ran out long ago; a live lease is never older than its ttl. */
export async function deleteStaleLeases(db: Database, limit: number): Promise<number> {
  const stale = db
    .select({ hash: leases.hash })
    .from(leases)
    .where(lt(leases.expiresAt, sql`now() - interval '1 minute'`))
    .limit(limit);
  const rows = await db.delete(leases).where(inArray(leases.hash, stale)).returning({ hash: leases.hash });
  return rows.length;
}
