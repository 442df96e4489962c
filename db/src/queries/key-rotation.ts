import { eq, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { asMasterKey, type MasterKeyOrBytes } from '../master-key.ts';
import { dataKeys, kvObjects, organizations, sessions } from '../schema.ts';
import { contextOf, insertDataKey, loadDataKeys } from './data-keys.ts';
import { rowsOf } from './kv-chain.ts';
import { retireEverything } from './organizations.ts';

/**
 * Rotation of an organization's keys, and of the master key over all of them. Old data keys open what they sealed until nothing is left
 * that they sealed; then they are destroyed.
 */

/** Workers keep keys for 30 s; so long after its retirement an old key may still have sealed something. */
const CACHED_KEY_SECONDS = 600;

export interface RotatedKeys {
  /** Stored objects that can no longer be found and were retired with the old chain: 0 where the chain was kept. */
  retiredObjects: number;
  /** Keys that still open older objects or sessions. */
  retiredKeys: number;
}

/**
 * A new data key, and a new chain secret with it: every chain starts anew, so nothing that was cached before can be found, by anyone who
 * learned the old secret either. What cannot be found is retired at once, pins included, so that nobody is billed for it; sessions live
 * on and compute their tokens again. `keepChain` carries the secret over: the cache stays, and is sealed anew as it is written.
 * Undefined when there is no such living organization. Throws when the master key is wrong.
 */
export async function rotateDataKeys(
  db: Database,
  masterKey: MasterKeyOrBytes,
  organizationId: string,
  { keepChain = false }: { keepChain?: boolean } = {},
): Promise<RotatedKeys | undefined> {
  return db.transaction(async (tx) => {
    const living = await rowsOf(
      tx,
      sql`select 1 from ${organizations} where id = ${organizationId} and deleted_at is null for no key update`,
    );
    if (living.length === 0) return undefined;
    const [current] = (await loadDataKeys(tx, masterKey, organizationId)).filter((key) => !key.retired);
    const retired = await rowsOf(
      tx,
      sql`update ${dataKeys} set retired_at = coalesce(retired_at, now()) where organization_id = ${organizationId} returning 1`,
    );
    await insertDataKey(tx, masterKey, organizationId, keepChain ? current?.chainSecret : undefined);
    const retiredObjects = keepChain ? 0 : await retireEverything(tx, organizationId);
    return { retiredObjects, retiredKeys: retired.length };
  });
}

/** Wraps every organization's keys with the present master key, whichever of the known ones wrapped them. Returns how many; may be repeated. */
export async function rewrapDataKeys(db: Database, masterKey: MasterKeyOrBytes): Promise<number> {
  const master = asMasterKey(masterKey);
  const rows = await db.select().from(dataKeys).orderBy(dataKeys.id);
  for (const { id, organizationId, wrappedDataKey, wrappedChainSecret } of rows) {
    const again = async (what: 'data-key' | 'chain-secret', wrapped: Uint8Array) => {
      const context = contextOf(what, organizationId, id);
      return master.wrap(await master.unwrap(wrapped, context), context);
    };
    await db
      .update(dataKeys)
      .set({
        wrappedDataKey: await again('data-key', wrappedDataKey),
        wrappedChainSecret: await again('chain-secret', wrappedChainSecret),
      })
      .where(eq(dataKeys.id, id));
  }
  return rows.length;
}

/** Destroys retired keys that no stored object and no session can need any more. Returns how many. */
export async function destroyRetiredKeys(db: Database, limit: number): Promise<number> {
  const rows = await rowsOf(
    db,
    sql`delete from ${dataKeys} where id in (
        select k.id from ${dataKeys} k where k.retired_at < now() - ${CACHED_KEY_SECONDS} * interval '1 second'
          and not exists (select 1 from ${kvObjects} o where o.organization_id = k.organization_id and o.state <> 'tombstone'
            and o.created_at < k.retired_at + ${CACHED_KEY_SECONDS} * interval '1 second')
          and not exists (select 1 from ${sessions} s where s.organization_id = k.organization_id
            and (substring(s.sealed_tokens from 1 for 16) = k.id or substring(s.sealed_transcript from 1 for 16) = k.id))
        limit ${limit}) returning 1`,
  );
  return rows.length;
}
