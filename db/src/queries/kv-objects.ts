import { and, eq, inArray, isNotNull, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { kvBlocks, kvObjects, sessions } from '../schema.ts';
import { byteaArray, textArray } from './arrays.ts';

/**
 * The life of a stored object's row: reserved -> ready -> tombstone or quarantined -> gone. Every step is conditional on the state
 * before it, so two workers, or a worker and a sweeper, cannot both win. Times are the database's: workers' clocks may differ.
 */

type Executor = Pick<Database, 'select' | 'insert' | 'update' | 'delete' | 'execute'>;

export interface NewKvObject {
  key: string;
  organizationId: string;
  namespace: Uint8Array;
  firstToken: number;
  tokenCount: number;
  storedBytes: number;
  rawBytes: number;
  codec: string;
  workerId: string;
  /** A session's tail. */
  sessionId?: string;
  ttlSeconds: number;
}

export interface NewKvBlock {
  hash: Uint8Array;
  parentHash: Uint8Array;
  blockIndex: number;
  indexInObject: number;
}

export type RetireReason = 'expired' | 'removed' | 'abandoned' | 'lost_race' | 'superseded' | 'orphan_tail';

const fromNow = (seconds: number) => sql<Date>`now() + ${seconds} * interval '1 second'`;

/** First step of the publish order. */
export async function reserveObject(db: Executor, object: NewKvObject): Promise<void> {
  const { ttlSeconds, ...row } = object;
  await db.insert(kvObjects).values({ ...row, state: 'reserved', expiresAt: fromNow(ttlSeconds) });
}

/**
 * Last step of the publish order, in one transaction: the object becomes ready and takes the block hashes that no ready, unexpired
 * object holds. Returns how many it took. With none (of at least one) taken, the object is retired as `lost_race`. Returns
 * undefined when the reservation is gone: a sweeper gave it up, and the bytes must be considered deleted.
 */
export async function markObjectReady(
  db: Database,
  key: string,
  blocks: readonly NewKvBlock[],
): Promise<{ taken: number } | undefined> {
  return db.transaction(async (tx) => {
    const [object] = await tx
      .update(kvObjects)
      .set({ state: 'ready', readyAt: sql`now()` })
      .where(and(eq(kvObjects.key, key), eq(kvObjects.state, 'reserved')))
      .returning({ organizationId: kvObjects.organizationId });
    if (!object) return undefined;
    if (blocks.length === 0) return { taken: 0 };
    const inserted = await tx
      .insert(kvBlocks)
      .values(blocks.map((block) => ({ ...block, organizationId: object.organizationId, objectKey: key })))
      .onConflictDoNothing({ target: kvBlocks.hash })
      .returning({ hash: kvBlocks.hash });
    const taken = inserted.length + (inserted.length < blocks.length ? await takeOver(tx, key, blocks) : 0);
    if (taken === 0) await retireObjects(tx, [key], 'lost_race');
    return { taken };
  });
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
        sql`not exists (select 1 from ${kvObjects} where ${kvObjects.key} = ${kvBlocks.objectKey}
          and ${kvObjects.state} = 'ready' and ${kvObjects.expiresAt} > now())`,
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
      expired: sql<boolean>`${kvObjects.expiresAt} <= now()`,
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

/** Slides expiry to now + ttl where that is later, and the last use. */
export async function touchObjects(
  db: Executor,
  organizationId: string,
  keys: readonly string[],
  ttlSeconds: number,
): Promise<void> {
  await db
    .update(kvObjects)
    .set({ lastUsedAt: sql`now()`, expiresAt: sql`greatest(${kvObjects.expiresAt}, ${fromNow(ttlSeconds)})` })
    .where(
      and(
        sql`${kvObjects.key} = any(${textArray(keys)})`,
        eq(kvObjects.organizationId, organizationId),
        eq(kvObjects.state, 'ready'),
      ),
    );
}

/** First step of the delete order: no new reader finds the objects from here on. Returns how many were retired. */
export async function retireObjects(db: Executor, keys: readonly string[], reason: RetireReason): Promise<number> {
  if (keys.length === 0) return 0;
  const rows = await db
    .update(kvObjects)
    .set({ state: 'tombstone', retiredAt: sql`now()`, retiredReason: reason })
    .where(
      and(
        sql`${kvObjects.key} = any(${textArray(keys)})`,
        inArray(kvObjects.state, ['reserved', 'ready', 'quarantined']),
      ),
    )
    .returning({ key: kvObjects.key });
  return rows.length;
}

/**
 * Retires those of these tails that no session names any more; forks share one. The rows are locked by a statement of their own: of
 * two sessions that let go of a tail at once, the later one then sees that it is the last.
 */
export async function retireTails(db: Executor, keys: readonly string[], reason: RetireReason): Promise<void> {
  if (keys.length === 0) return;
  await db.execute(
    sql`select 1 from ${kvObjects} where ${kvObjects.key} = any(${textArray(keys)}) order by ${kvObjects.key} for update`,
  );
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
    .set({ state: 'quarantined', retiredAt: sql`now()`, retiredReason: reason.slice(0, 500) })
    .where(and(eq(kvObjects.key, key), eq(kvObjects.organizationId, organizationId), eq(kvObjects.state, 'ready')))
    .returning({ key: kvObjects.key });
  return rows.length > 0;
}

/** Retires every object that holds one of these blocks, all at once. Returns how many. */
export async function removeBlocks(
  db: Database,
  organizationId: string,
  hashes: readonly Uint8Array[],
): Promise<number> {
  return db.transaction(async (tx) => {
    const rows = await tx
      .selectDistinct({ key: kvObjects.key, firstToken: kvObjects.firstToken })
      .from(kvBlocks)
      .innerJoin(kvObjects, eq(kvObjects.key, kvBlocks.objectKey))
      .where(
        and(
          sql`${kvBlocks.hash} = any(${byteaArray(hashes)})`,
          eq(kvBlocks.organizationId, organizationId),
          inArray(kvObjects.state, ['ready', 'quarantined']),
        ),
      );
    return retireObjects(
      tx,
      rows.map((row) => row.key),
      'removed',
    );
  });
}
