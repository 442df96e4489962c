import { and, eq, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { kvAccounts, kvObjects, organizations } from '../schema.ts';
import { byteaArray } from './arrays.ts';
import {
  type Executor,
  hasLivingChild,
  hasReservedChild,
  isPinned,
  retireLeafward,
  rowsOf,
  seconds,
} from './kv-chain.ts';

/**
 * Space is reserved before anything is written: the account's row is locked, so the sum of what is reserved and ready never exceeds
 * the quota, however many workers publish. A full organization gives up its own least recently used leaves first.
 */

export interface NewKvObject {
  key: string;
  organizationId: string;
  namespace: Uint8Array;
  firstToken: number;
  tokenCount: number;
  /** Chain hash before the first block; absent for tails and where the chain begins. */
  parentHash?: Uint8Array;
  storedBytes: number;
  rawBytes: number;
  codec: string;
  workerId: string;
  /** A session's tail. */
  sessionId?: string;
  ttlSeconds: number;
}

export type Reservation =
  | { reserved: true; evictedObjects: number; evictedBytes: number }
  | { reserved: false; reason: 'over_quota'; quotaBytes: number; heldBytes: number }
  | { reserved: false; reason: 'organization_gone' };

/** Leaves looked at in one round, and rounds: an object makes room for itself by at most so many others. */
const LEAVES = 32;
const ROUNDS = 32;

/** Thrown inside the transaction, so that what was evicted for nothing comes back. */
class NoRoom extends Error {}

/**
 * First step of the publish order, one statement where there is room. `defaultQuotaBytes` holds for organizations without a quota of
 * their own; undefined: no limit.
 */
export async function reserveObject(
  db: Database,
  object: NewKvObject,
  defaultQuotaBytes?: number,
): Promise<Reservation> {
  const { organizationId } = object;
  const fits = async (tx: Executor) => insertWithin(tx, object, defaultQuotaBytes);
  let account = await fits(db);
  if (!account) {
    await db.execute(sql`insert into ${kvAccounts} (organization_id)
      select id from ${organizations} where id = ${organizationId} and deleted_at is null on conflict do nothing`);
    account = await fits(db);
  }
  if (!account || account.gone) return { reserved: false, reason: 'organization_gone' };
  if (account.inserted) return { reserved: true, evictedObjects: 0, evictedBytes: 0 };
  const { quotaBytes, heldBytes } = account;
  const full: Reservation = { reserved: false, reason: 'over_quota', quotaBytes: quotaBytes!, heldBytes };
  if (object.storedBytes > quotaBytes!) return full;
  try {
    return await db.transaction(async (tx): Promise<Reservation> => {
      const locked = await lockAccount(tx, organizationId);
      const evicted = await evictLeaves(tx, object, locked.heldBytes + object.storedBytes - quotaBytes!);
      if (!(await fits(tx))?.inserted) throw new NoRoom();
      return { reserved: true, ...evicted };
    });
  } catch (error) {
    if (error instanceof NoRoom) return full;
    throw error;
  }
}

interface Attempt {
  quotaBytes: number | null;
  heldBytes: number;
  gone: boolean;
  inserted: boolean;
}

/** Inserts the reservation if it fits. The account's row is locked first, so that two that fit alone cannot both win. */
async function insertWithin(db: Executor, object: NewKvObject, defaultQuota?: number): Promise<Attempt | undefined> {
  const bytes = (value: Uint8Array | undefined) => (value ? sql`(${byteaArray([value])})[1]` : sql`null::bytea`);
  const [attempt] = await rowsOf<Attempt>(
    db,
    sql`with account as (
        select a.organization_id, coalesce(a.quota_bytes, ${defaultQuota ?? null}::bigint) as quota, a.held_bytes as held,
          o.deleted_at is not null as gone
        from ${kvAccounts} a join ${organizations} o on o.id = a.organization_id
        where a.organization_id = ${object.organizationId} for update of a for share of o),
      made as (
        insert into ${kvObjects} (key, organization_id, namespace, state, first_token, token_count, parent_hash, stored_bytes,
          raw_bytes, codec, session_id, worker_id, expires_at)
        select ${object.key}, organization_id, ${bytes(object.namespace)}, 'reserved'::kv_object_state, ${object.firstToken}::int,
          ${object.tokenCount}::int, ${bytes(object.parentHash)}, ${object.storedBytes}::bigint, ${object.rawBytes}::bigint,
          ${object.codec}, ${object.sessionId ?? null}, ${object.workerId}, now() + ${seconds(object.ttlSeconds)}
        from account where not gone and (quota is null or held + ${object.storedBytes}::bigint <= quota) returning 1)
      select quota::float8 as "quotaBytes", held::float8 as "heldBytes", gone, exists (select 1 from made) as inserted from account`,
  );
  return attempt;
}

async function lockAccount(db: Executor, organizationId: string): Promise<{ heldBytes: number }> {
  const [account] = await rowsOf<{ heldBytes: number }>(
    db,
    sql`select held_bytes::float8 as "heldBytes" from ${kvAccounts} where organization_id = ${organizationId} for update`,
  );
  return account!;
}

/**
 * Frees at least `needed` bytes, or throws NoRoom. Only leaves can go, so a chain shrinks from its end; what this object continues
 * is spared. Rows that others hold are skipped: the account's lock is held here, and they may be waiting for it.
 */
async function evictLeaves(db: Executor, object: NewKvObject, needed: number) {
  const parents = byteaArray(object.parentHash ? [object.parentHash] : []);
  let evictedObjects = 0;
  let evictedBytes = 0;
  for (let round = 0; evictedBytes < needed; round++) {
    const leaves = await rowsOf<{ key: string; storedBytes: number }>(
      db,
      sql`select o.key, o.stored_bytes::float8 as "storedBytes" from ${kvObjects} o
        where o.organization_id = ${object.organizationId} and o.state = 'ready'
          and not ${isPinned(sql`o.key`)} and not ${hasLivingChild(sql`o.key`)} and not ${hasReservedChild(sql`o.key`)}
          and not exists (select 1 from kv_blocks b where b.hash = any(${parents}) and b.object_key = o.key)
        order by o.last_used_at, o.first_token desc limit ${LEAVES} for update of o skip locked`,
    );
    const victims: string[] = [];
    let chosen = evictedBytes;
    for (const leaf of leaves) {
      if (chosen >= needed) break;
      victims.push(leaf.key);
      chosen += leaf.storedBytes;
    }
    const retired = await retireLeafward(db, victims, 'evicted', { keepExtended: true });
    if (retired.length === 0 || round === ROUNDS) throw new NoRoom();
    evictedObjects += retired.length;
    for (const { storedBytes } of retired) evictedBytes += storedBytes;
  }
  return { evictedObjects, evictedBytes };
}

/** null: the platform's default. False when there is no such living organization. Below what is held, nothing goes until something is published. */
export async function setQuota(db: Database, organizationId: string, quotaBytes: number | null): Promise<boolean> {
  const rows = await rowsOf(
    db,
    sql`insert into ${kvAccounts} (organization_id, quota_bytes)
      select id, ${quotaBytes}::bigint from ${organizations} where id = ${organizationId} and deleted_at is null
      on conflict (organization_id) do update set quota_bytes = excluded.quota_bytes returning 1`,
  );
  return rows.length > 0;
}

export interface KvAccount {
  quotaBytes: number | null;
  /** Stored bytes of reserved and ready objects. */
  heldBytes: number;
}

export async function kvAccount(db: Database, organizationId: string): Promise<KvAccount> {
  const [row] = await db
    .select({ quotaBytes: kvAccounts.quotaBytes, heldBytes: kvAccounts.heldBytes })
    .from(kvAccounts)
    .where(and(eq(kvAccounts.organizationId, organizationId)));
  return row ?? { quotaBytes: null, heldBytes: 0 };
}
