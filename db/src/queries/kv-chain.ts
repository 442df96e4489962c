import { type SQL, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { kvBlocks, kvObjects, kvPins, sessions } from '../schema.ts';
import { byteaArray, textArray } from './arrays.ts';

/**
 * What the queries of the block directory share about chains. Living: ready, whatever its expiry says. A living block's parent is
 * living or quarantined, expires no earlier, and is pinned by whoever pins the block. Objects are locked deepest first, then by
 * key, everywhere, so that no two transactions wait for each other in a circle.
 */

export type Executor = Pick<Database, 'select' | 'insert' | 'update' | 'delete' | 'execute'>;

export type RetireReason =
  | 'expired'
  | 'removed'
  | 'evicted'
  | 'abandoned'
  | 'lost_race'
  | 'orphaned'
  | 'superseded'
  | 'orphan_tail';

/** Rows of a raw statement; its columns are named by the statement itself. */
export async function rowsOf<T>(db: Executor, statement: SQL): Promise<T[]> {
  return [...(await db.execute(statement))] as unknown as T[];
}

export const seconds = (value: number) => sql`${value} * interval '1 second'`;

/** Locks these objects and returns the keys that exist. `skip`: those that someone else holds are left out. */
export async function lockObjects(db: Executor, keys: readonly string[], skip = false): Promise<string[]> {
  const rows = await rowsOf<{ key: string }>(
    db,
    sql`select key from ${kvObjects} where key = any(${textArray(keys)}) order by first_token desc, key for update ${sql.raw(skip ? 'skip locked' : '')}`,
  );
  return rows.map((row) => row.key);
}

/** A holder, or the pinned session whose tail it is, keeps this object. */
export const isPinned = (key: SQL) => sql`(exists (select 1 from ${kvPins} where object_key = ${key})
  or exists (select 1 from ${sessions} where tail_object_key = ${key} and pinned and deleted_at is null))`;

export const hasLivingChild = (key: SQL) => sql`exists (select 1 from ${kvBlocks} p
  join ${kvBlocks} c on c.parent_hash = p.hash and c.object_key <> p.object_key
  join ${kvObjects} child on child.key = c.object_key and child.state = 'ready' where p.object_key = ${key})`;

/** Someone is publishing what continues this object. */
export const hasReservedChild = (key: SQL) => sql`exists (select 1 from ${kvBlocks} p
  join ${kvObjects} child on child.parent_hash = p.hash and child.state = 'reserved' where p.object_key = ${key})`;

export interface Retired {
  key: string;
  storedBytes: number;
}

export interface RetireOptions {
  /** Objects that someone is extending right now are kept too. */
  keepExtended?: boolean;
}

/**
 * When an object that is taken away now stopped being readable: at its expiry, if that is past. Nobody found it since, nobody is billed
 * for the sweeper's delay, and every read that began before is as old as the expiry. Tails have no expiry of their own.
 */
export const stoppedAt = sql`case when state = 'ready' and session_id is null and not ${isPinned(sql`kv_objects.key`)}
  then least(now(), greatest(expires_at, ready_at)) else now() end`;

/**
 * Retires those of these objects that no living block outside of them needs and nobody pinned. The caller holds their locks, taken by
 * a statement of its own: this one then sees what was committed until then.
 */
export async function retireLeafward(
  db: Executor,
  keys: readonly string[],
  reason: RetireReason,
  options: RetireOptions = {},
): Promise<Retired[]> {
  if (keys.length === 0) return [];
  const reserved = sql`union select p.object_key, child.key from ${kvBlocks} p
    join ${kvObjects} child on child.parent_hash = p.hash and child.state = 'reserved'
    where p.object_key in (select key from chosen)`;
  return rowsOf<Retired>(
    db,
    sql`with recursive chosen(key) as (
        select key from ${kvObjects} where key = any(${textArray(keys)}) and state <> 'tombstone'),
      needs(parent, child) as (
        select p.object_key, c.object_key from ${kvBlocks} p
        join ${kvBlocks} c on c.parent_hash = p.hash and c.object_key <> p.object_key
        join ${kvObjects} child on child.key = c.object_key and child.state = 'ready'
        where p.object_key in (select key from chosen) ${options.keepExtended ? reserved : sql``}),
      kept(key) as (
        select parent from needs where child not in (select key from chosen)
        union select key from chosen where ${isPinned(sql`chosen.key`)}
        union select parent from needs join kept on needs.child = kept.key)
      update ${kvObjects} set state = 'tombstone', retired_at = ${stoppedAt}, retired_reason = ${reason}
      where key in (select key from chosen) and key not in (select key from kept)
      returning key, stored_bytes::float8 as "storedBytes"`,
  );
}

/** Objects that hold the block with this hash and its ancestors, deepest first; those of another organization end the walk. */
export async function chainObjects(
  db: Executor,
  organizationId: string,
  headHash: Uint8Array,
): Promise<{ key: string; first: boolean }[]> {
  return rowsOf(
    db,
    sql`with recursive up(key) as (
        select b.object_key from ${kvBlocks} b where b.hash = any(${byteaArray([headHash])}) and b.organization_id = ${organizationId}
        union
        select p.object_key from up join ${kvBlocks} c on c.object_key = up.key
          join ${kvBlocks} p on p.hash = c.parent_hash and p.organization_id = ${organizationId})
      select o.key, exists (select 1 from ${kvBlocks} b where b.object_key = o.key and b.block_index = 0) as first
      from ${kvObjects} o where o.key in (select key from up) and o.state = 'ready' order by o.first_token desc, o.key`,
  );
}
