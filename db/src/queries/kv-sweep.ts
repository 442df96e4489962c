import { and, asc, desc, eq, inArray, isNull, lt, type SQL, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { kvBlocks, kvObjects, leases, sessions } from '../schema.ts';
import { textArray } from './arrays.ts';
import { hasLivingChild, isPinned, lockObjects, type RetireReason, retireLeafward, rowsOf } from './kv-chain.ts';
import { recordDepartures } from './kv-diagnosis.ts';
import { retireTails } from './kv-objects.ts';

/** What the sweeper asks. Every call is bounded by `limit` and may run on several workers at once. */

const olderThan = (column: typeof kvObjects.createdAt | typeof kvObjects.retiredAt, seconds: number) =>
  lt(column, sql`now() - ${seconds} * interval '1 second'`);

/** Selects, locks, and retires what still fits `which`, so that an object that has just changed is left alone. */
async function retire(db: Database, which: SQL, order: SQL, limit: number, reason: RetireReason) {
  return db.transaction(async (tx) => {
    const chosen = await rowsOf<{ key: string }>(
      tx,
      sql`select key from ${kvObjects} where ${which} order by ${order} limit ${limit}`,
    );
    const locked = await lockObjects(
      tx,
      chosen.map((row) => row.key),
      true,
    );
    const still = await rowsOf<{ key: string }>(
      tx,
      sql`select key from ${kvObjects} where key = any(${textArray(locked)}) and ${which}`,
    );
    const keys = still.map((row) => row.key);
    return (await retireLeafward(tx, keys, reason, { keepExtended: true })).length;
  });
}

/** Reservations older than `seconds`: their publisher died or gave up. */
export async function retireAbandoned(db: Database, seconds: number, limit: number): Promise<number> {
  const which = sql`state = 'reserved' and created_at < now() - ${seconds} * interval '1 second'`;
  return retire(db, which, sql`created_at`, limit, 'abandoned');
}

/** Objects past their expiry, the deepest of a chain first. */
export async function retireExpired(db: Database, limit: number): Promise<number> {
  const which = sql`state = 'ready' and session_id is null and expires_at <= now() and not ${isPinned(sql`key`)}`;
  return retire(db, which, sql`expires_at, first_token desc`, limit, 'expired');
}

/**
 * All descendants of objects that were quarantined `seconds` ago and that nobody published again: they cannot be reached. Pinned ones
 * stay, with their quarantined parent's row: the session's next turn publishes what is missing.
 */
export async function retireOrphans(db: Database, seconds: number, limit: number): Promise<number> {
  return db.transaction(async (tx) => {
    const children = (from: SQL) => sql`select distinct child.key from ${kvBlocks} p
      join ${kvBlocks} c on c.parent_hash = p.hash and c.object_key <> p.object_key
      join ${kvObjects} child on child.key = c.object_key and child.state = 'ready' ${from}`;
    const found = await rowsOf<{ key: string }>(
      tx,
      sql`with recursive down(key) as (
          (${children(sql`join ${kvObjects} parent on parent.key = p.object_key where parent.state = 'quarantined'
            and parent.retired_at <= now() - ${seconds} * interval '1 second'`)} limit ${limit})
          union ${children(sql`join down on down.key = p.object_key`)})
        select key from down`,
    );
    const keys = await lockObjects(
      tx,
      found.map((row) => row.key),
    );
    return (await retireLeafward(tx, keys, 'orphaned')).length;
  });
}

/** Tails that no session names, `seconds` after they were written: the turn that made them never committed. */
export async function retireOrphanTails(db: Database, seconds: number, limit: number): Promise<number> {
  const which = sql`state = 'ready' and session_id is not null and created_at < now() - ${seconds} * interval '1 second'
    and not exists (select 1 from ${sessions} where tail_object_key = kv_objects.key)`;
  return retire(db, which, sql`created_at`, limit, 'orphan_tail');
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
    .where(
      and(
        inArray(kvObjects.state, ['tombstone', 'quarantined']),
        olderThan(kvObjects.retiredAt, graceSeconds),
        sql`not ${hasLivingChild(sql`${kvObjects.key}`)}`,
      ),
    )
    .orderBy(asc(kvObjects.retiredAt), desc(kvObjects.firstToken))
    .limit(limit);
  return rows.map((row) => row.key);
}

/**
 * Last step of the delete order, after the bytes are gone. Block rows that still point here go with it. A quarantined object keeps its
 * row while living blocks need it.
 */
export async function deleteObjectRows(db: Database, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return;
  await db.transaction(async (tx) => {
    await recordDepartures(tx, keys);
    await tx
      .delete(kvObjects)
      .where(
        and(
          sql`${kvObjects.key} = any(${textArray(keys)})`,
          inArray(kvObjects.state, ['tombstone', 'quarantined']),
          sql`not ${hasLivingChild(sql`${kvObjects.key}`)}`,
        ),
      );
  });
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

export interface StoredKey {
  key: string;
  organizationId: string;
}

/**
 * Keys of objects that have been ready for `seconds`, after `after` and up to `upTo` (undefined: no bound), in byte order: what the
 * bucket must hold there.
 */
export async function findReadyKeys(
  db: Database,
  after: string | undefined,
  upTo: string | undefined,
  seconds: number,
  limit: number,
): Promise<StoredKey[]> {
  return rowsOf(
    db,
    sql`select key, organization_id as "organizationId" from ${kvObjects}
      where key collate "C" > ${after ?? ''} ${upTo === undefined ? sql`` : sql`and key collate "C" <= ${upTo}`}
        and state = 'ready' and ready_at < now() - ${seconds} * interval '1 second'
      order by key collate "C" limit ${limit}`,
  );
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
