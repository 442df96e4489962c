import { and, eq, inArray, isNotNull, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { kvBlocks, kvObjects, kvPins, organizations, sessions } from '../schema.ts';
import { byteaArray, textArray } from './arrays.ts';
import {
  type Executor,
  isPinned,
  lockObjects,
  type RetireReason,
  retireLeafward,
  rowsOf,
  stoppedAt,
} from './kv-chain.ts';
import { slideAncestors } from './kv-touch.ts';

/**
 * The life of a stored object's row: reserved -> ready -> tombstone or quarantined -> gone. Every step is conditional on the state
 * before it, so two workers, or a worker and a sweeper, cannot both win. Times are the database's: workers' clocks may differ.
 */

export interface NewKvBlock {
  hash: Uint8Array;
  parentHash: Uint8Array;
  blockIndex: number;
  indexInObject: number;
  /** Its token ids under the organization's data key. */
  sealedTokens?: Uint8Array;
}

/** `orphaned`: the chain before it is gone, so it stands for nothing and was retired. */
export interface MarkedReady {
  taken: number;
  orphaned: boolean;
}

/**
 * Last step of the publish order, in one transaction: the object becomes ready and takes the block hashes that no ready, unexpired
 * object holds. Returns how many it took; with none (of at least one) taken, the object is retired. Returns undefined when the
 * reservation is gone: a sweeper gave it up, or the organization was deleted, and the bytes must be considered deleted.
 */
export async function markObjectReady(
  db: Database,
  key: string,
  blocks: readonly NewKvBlock[],
): Promise<MarkedReady | undefined> {
  return db.transaction(async (tx) => {
    const [object] = await tx
      .update(kvObjects)
      .set({ state: 'ready', readyAt: sql`now()` })
      .where(
        and(
          eq(kvObjects.key, key),
          eq(kvObjects.state, 'reserved'),
          sql`exists (select 1 from ${organizations} where id = ${kvObjects.organizationId} and deleted_at is null)`,
        ),
      )
      .returning({ organizationId: kvObjects.organizationId, expiresAt: sql<string>`${kvObjects.expiresAt}::text` });
    if (!object) return undefined;
    const first = blocks[0];
    if (!first) return { taken: 0, orphaned: false };
    if (first.blockIndex > 0 && !(await holdParent(tx, object.organizationId, first.parentHash))) {
      await retireLeafward(tx, [key], 'orphaned');
      return { taken: 0, orphaned: true };
    }
    const inserted = await tx
      .insert(kvBlocks)
      .values(blocks.map((block) => ({ ...block, organizationId: object.organizationId, objectKey: key })))
      .onConflictDoNothing({ target: kvBlocks.hash })
      .returning({ hash: kvBlocks.hash });
    let taken = inserted.length;
    let adopted: string | undefined;
    if (taken < blocks.length) {
      const over = await takeOver(tx, key, blocks);
      if (over > 0) adopted = await adoptChildren(tx, key);
      taken += over;
    }
    if (taken === 0) await retireLeafward(tx, [key], 'lost_race');
    else await slideAncestors(tx, key, adopted ?? object.expiresAt);
    return { taken, orphaned: false };
  });
}

/** True when the parent block's object is living; it stays so until the transaction ends. */
async function holdParent(tx: Executor, organizationId: string, parentHash: Uint8Array): Promise<boolean> {
  const rows = await rowsOf(
    tx,
    sql`select 1 from ${kvBlocks} b join ${kvObjects} o on o.key = b.object_key
      where b.hash = any(${byteaArray([parentHash])}) and b.organization_id = ${organizationId} and o.state = 'ready'
      for no key update of o`,
  );
  return rows.length > 0;
}

/** Blocks of a quarantined object may have living children: what takes its place lives as long, and is pinned by the same holders. */
async function adoptChildren(tx: Executor, key: string): Promise<string | undefined> {
  const children = await rowsOf<{ key: string }>(
    tx,
    sql`select child.key from ${kvObjects} child
      where child.state = 'ready' and child.key in (select c.object_key from ${kvBlocks} p
        join ${kvBlocks} c on c.parent_hash = p.hash and c.object_key <> p.object_key where p.object_key = ${key})
      order by child.first_token desc, child.key for no key update`,
  );
  if (children.length === 0) return undefined;
  const keys = textArray(children.map((child) => child.key));
  const [own] = await rowsOf<{ expiresAt: string }>(
    tx,
    sql`update ${kvObjects} set expires_at =
        greatest(expires_at, (select max(child.expires_at) from ${kvObjects} child where child.key = any(${keys})))
      where key = ${key} returning expires_at::text as "expiresAt"`,
  );
  await tx.execute(sql`insert into ${kvPins} (object_key, holder)
    select distinct ${key}, holder from ${kvPins} where object_key = any(${keys}) on conflict do nothing`);
  return own?.expiresAt;
}

/**
 * Takes the hashes whose present object cannot be read any more. The rows are locked by a statement of their own: the one after it
 * then sees what a racing publisher has committed meanwhile, which a single statement's snapshot would not.
 */
async function takeOver(tx: Executor, key: string, blocks: readonly NewKvBlock[]): Promise<number> {
  const hashes = byteaArray(blocks.map((block) => block.hash));
  await tx.execute(
    sql`select 1 from ${kvBlocks} where ${kvBlocks.hash} = any(${hashes}) order by ${kvBlocks.blockIndex} for update`,
  );
  const first = blocks[0]!;
  const rows = await tx
    .update(kvBlocks)
    .set({
      objectKey: key,
      indexInObject: sql`${kvBlocks.blockIndex} - ${first.blockIndex - first.indexInObject}::int`,
    })
    .where(
      and(
        sql`${kvBlocks.hash} = any(${hashes})`,
        sql`${kvBlocks.objectKey} <> ${key}`,
        sql`not exists (select 1 from ${kvObjects} o where o.key = ${kvBlocks.objectKey} and o.state = 'ready'
          and (o.expires_at > now() or ${isPinned(sql`o.key`)}))`,
      ),
    )
    .returning({ hash: kvBlocks.hash });
  return rows.length;
}

export interface FoundBlock {
  hash: Uint8Array;
  objectKey: string;
  indexInObject: number;
  state: 'reserved' | 'ready' | 'quarantined' | 'tombstone';
  expired: boolean;
  retiredReason: string | null;
  objectFirstToken: number;
  objectTokenCount: number;
  storedBytes: number;
  rawBytes: number;
}

/** Rows of these hashes, in no order, readable or not. At most 4,096 hashes a call. */
export async function findBlocks(
  db: Executor,
  organizationId: string,
  namespace: Uint8Array,
  hashes: readonly Uint8Array[],
): Promise<FoundBlock[]> {
  return db
    .select({
      hash: kvBlocks.hash,
      objectKey: kvObjects.key,
      indexInObject: kvBlocks.indexInObject,
      state: kvObjects.state,
      expired: sql<boolean>`${kvObjects.expiresAt} <= now() and not ${isPinned(sql`${kvObjects.key}`)}`,
      retiredReason: kvObjects.retiredReason,
      objectFirstToken: kvObjects.firstToken,
      objectTokenCount: kvObjects.tokenCount,
      storedBytes: kvObjects.storedBytes,
      rawBytes: kvObjects.rawBytes,
    })
    .from(kvBlocks)
    .innerJoin(kvObjects, eq(kvObjects.key, kvBlocks.objectKey))
    .where(
      and(
        sql`${kvBlocks.hash} = any(${byteaArray(hashes)})`,
        eq(kvBlocks.organizationId, organizationId),
        eq(kvObjects.namespace, namespace),
      ),
    );
}

/** Stored bytes of a ready object of this organization; undefined when there is none. For tails, which have no block rows. */
export async function findReadyObject(
  db: Executor,
  organizationId: string,
  key: string,
): Promise<{ storedBytes: number } | undefined> {
  const [row] = await db
    .select({ storedBytes: kvObjects.storedBytes })
    .from(kvObjects)
    .where(and(eq(kvObjects.key, key), eq(kvObjects.organizationId, organizationId), eq(kvObjects.state, 'ready')));
  return row;
}

/**
 * First step of the delete order: no new reader finds the objects from here on. Those that a living block needs, and pinned ones, are
 * left. Returns how many were retired.
 */
export async function retireObjects(db: Database, keys: readonly string[], reason: RetireReason): Promise<number> {
  return db.transaction(async (tx) => {
    const locked = await lockObjects(tx, keys);
    return (await retireLeafward(tx, locked, reason)).length;
  });
}

/**
 * Retires those of these tails that no session names any more; forks share one. The rows are locked by a statement of their own: of
 * two sessions that let go of a tail at once, the later one then sees that it is the last.
 */
export async function retireTails(db: Executor, keys: readonly string[], reason: RetireReason): Promise<void> {
  if (keys.length === 0) return;
  await lockObjects(db, keys);
  await db
    .update(kvObjects)
    .set({ state: 'tombstone', retiredAt: sql`now()`, retiredReason: reason })
    .where(
      and(
        sql`${kvObjects.key} = any(${textArray(keys)})`,
        isNotNull(kvObjects.sessionId),
        eq(kvObjects.state, 'ready'),
        sql`not exists (select 1 from ${sessions} where ${sessions.tailObjectKey} = ${kvObjects.key})`,
      ),
    );
}

/** A reader found a stored byte that contradicts its header, checksum, seal or chain. False when it was retired already. */
export async function quarantineObject(
  db: Executor,
  organizationId: string,
  key: string,
  reason: string,
): Promise<boolean> {
  const rows = await db
    .update(kvObjects)
    .set({ state: 'quarantined', retiredAt: stoppedAt, retiredReason: reason.slice(0, 500) })
    .where(and(eq(kvObjects.key, key), eq(kvObjects.organizationId, organizationId), eq(kvObjects.state, 'ready')))
    .returning({ key: kvObjects.key });
  return rows.length > 0;
}

export interface Removed {
  objects: number;
  /** Left, because a living block outside of these needs them, or because they are pinned. */
  kept: number;
}

/** Retires the objects that hold these blocks, all at once; what other chains continue stays. */
export async function removeBlocks(
  db: Database,
  organizationId: string,
  hashes: readonly Uint8Array[],
): Promise<Removed> {
  return db.transaction(async (tx) => {
    const rows = await tx
      .selectDistinct({ key: kvObjects.key })
      .from(kvBlocks)
      .innerJoin(kvObjects, eq(kvObjects.key, kvBlocks.objectKey))
      .where(
        and(
          sql`${kvBlocks.hash} = any(${byteaArray(hashes)})`,
          eq(kvBlocks.organizationId, organizationId),
          inArray(kvObjects.state, ['ready', 'quarantined']),
        ),
      );
    const keys = await lockObjects(
      tx,
      rows.map((row) => row.key),
    );
    const retired = await retireLeafward(tx, keys, 'removed');
    return { objects: retired.length, kept: keys.length - retired.length };
  });
}
