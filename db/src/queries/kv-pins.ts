import { and, eq, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { kvBlocks, kvObjects, kvPins, sessions } from '../schema.ts';
import { textArray } from './arrays.ts';
import { chainObjects, type Executor, lockObjects, retireLeafward, rowsOf } from './kv-chain.ts';

/** Pins keep objects from expiry, eviction and removal. They count against the quota and are billed as everything else. */
export interface Pinned {
  objects: number;
  /** False where the chain's beginning is not stored any more: what is pinned cannot be reached until it is published again. */
  complete: boolean;
}

/** Pins the block with this hash and all its ancestors for `holder`; a chain that grew is pinned further. */
export async function pinChain(
  db: Executor,
  organizationId: string,
  headHash: Uint8Array,
  holder: string,
): Promise<Pinned> {
  const found = await chainObjects(db, organizationId, headHash);
  const keys = await lockObjects(
    db,
    found.map((row) => row.key),
  );
  await db.execute(sql`insert into ${kvPins} (object_key, holder)
    select key, ${holder} from ${kvObjects} where key = any(${textArray(keys)}) and state = 'ready' on conflict do nothing`);
  return { objects: keys.length, complete: found.some((row) => row.first) };
}

/** What nobody else pins can expire from now on, not before. Returns how many pins were taken off. */
export async function unpin(db: Database, organizationId: string, holder: string): Promise<number> {
  return db.transaction((tx) => dropPins(tx, organizationId, holder));
}

/** unpin inside of a transaction. */
export async function dropPins(db: Executor, organizationId: string, holder: string): Promise<number> {
  const held = await db
    .select({ key: kvPins.objectKey })
    .from(kvPins)
    .innerJoin(kvObjects, eq(kvObjects.key, kvPins.objectKey))
    .where(and(eq(kvPins.holder, holder), eq(kvObjects.organizationId, organizationId)));
  const keys = await lockObjects(
    db,
    held.map((row) => row.key),
  );
  if (keys.length === 0) return 0;
  await db.execute(
    sql`update ${kvObjects} set expires_at = greatest(expires_at, now()) where key = any(${textArray(keys)})`,
  );
  await db.delete(kvPins).where(and(eq(kvPins.holder, holder), sql`${kvPins.objectKey} = any(${textArray(keys)})`));
  return keys.length;
}

/**
 * Retires what the chain up to `headHash` holds for this session alone: what another session's chain, another living block or a pin
 * needs stays. For a deleted session, inside of its transaction. Returns how many objects were retired.
 */
export async function retireSessionChain(
  db: Executor,
  organizationId: string,
  sessionId: string,
  headHash: Uint8Array | null,
): Promise<number> {
  await dropPins(db, organizationId, sessionId);
  if (headHash === null) return 0;
  const chain = await chainObjects(db, organizationId, headHash);
  const locked = await lockObjects(
    db,
    chain.map((row) => row.key),
  );
  const own = await rowsOf<{ key: string }>(
    db,
    sql`select o.key from ${kvObjects} o where o.key = any(${textArray(locked)}) and o.state = 'ready'
      and not exists (select 1 from ${kvBlocks} b join ${sessions} s on s.head_hash = b.hash
        where b.object_key = o.key and s.id <> ${sessionId} and s.deleted_at is null)`,
  );
  const keys = own.map((row) => row.key);
  return (await retireLeafward(db, keys, 'removed', { keepExtended: true })).length;
}
