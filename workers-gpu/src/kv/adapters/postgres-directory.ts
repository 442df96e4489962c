import {
  acquireLease,
  type Database,
  deleteObjectRows,
  deleteStaleLeases,
  expireSessions,
  findBlocks,
  findDeletable,
  findReadyObject,
  findUnknownKeys,
  foldMeter,
  loadDataKeys,
  markObjectReady,
  observeLease,
  pinChain,
  quarantineObject,
  releaseLease,
  removeBlocks,
  renewLease,
  reserveObject,
  retireAbandoned,
  retireExpired,
  retireObjects,
  retireOrphans,
  retireOrphanTails,
  touchBlocks,
  unpin,
} from '@longshore/db';
import { type BlockDirectory, type KeyRing, StoreError } from '../ports.ts';

/** Longest a caller waits for one query; the statement itself is ended by the server's statement_timeout. */
const QUERY_TIMEOUT_MS = 3000;

async function within<T>(query: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    const late = () => reject(new StoreError('timeout', 'the database did not answer in time'));
    timer = setTimeout(late, QUERY_TIMEOUT_MS);
  });
  try {
    return await Promise.race([query, deadline]);
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    throw new StoreError('unavailable', `database: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  } finally {
    clearTimeout(timer);
  }
}

export interface PostgresDirectoryOptions {
  /** For organizations without a quota of their own; absent: no limit. */
  defaultQuotaBytes?: number;
}

/** The directory in Postgres. Reads see only what is committed, so two workers agree. */
export function createPostgresDirectory(db: Database, options: PostgresDirectoryOptions = {}): BlockDirectory {
  return {
    findBlocks: (organizationId, namespace, hashes) => within(findBlocks(db, organizationId, namespace, hashes)),
    findObject: (organizationId, key) => within(findReadyObject(db, organizationId, key)),
    reserve: (object) => within(reserveObject(db, object, options.defaultQuotaBytes)),
    markReady: (key, blocks) => within(markObjectReady(db, key, blocks)),
    touch: (organizationId, hashes, ttlSeconds) => within(touchBlocks(db, organizationId, hashes, ttlSeconds)),
    pin: (organizationId, headHash, holder) =>
      within(db.transaction((tx) => pinChain(tx, organizationId, headHash, holder))),
    unpin: (organizationId, holder) => within(unpin(db, organizationId, holder)),
    retire: (keys, reason) => within(retireObjects(db, keys, reason)),
    quarantine: (organizationId, key, reason) => within(quarantineObject(db, organizationId, key, reason)),
    removeBlocks: (organizationId, hashes) => within(removeBlocks(db, organizationId, hashes)),
    acquireLease: (claim) => within(acquireLease(db, claim)),
    renewLease: (claim) => within(renewLease(db, claim)),
    releaseLease: (claim) => within(releaseLease(db, claim)),
    observeLease: (hash) => within(observeLease(db, hash)),
    retireAbandoned: (seconds, limit) => within(retireAbandoned(db, seconds, limit)),
    retireExpired: (limit) => within(retireExpired(db, limit)),
    retireOrphans: (seconds, limit) => within(retireOrphans(db, seconds, limit)),
    retireOrphanTails: (seconds, limit) => within(retireOrphanTails(db, seconds, limit)),
    expireSessions: (limit) => within(expireSessions(db, limit)),
    findDeletable: (graceSeconds, limit) => within(findDeletable(db, graceSeconds, limit)),
    deleteRows: (keys) => within(deleteObjectRows(db, keys)),
    findUnknownKeys: (keys) => within(findUnknownKeys(db, keys)),
    deleteStaleLeases: (limit) => within(deleteStaleLeases(db, limit)),
    foldMeter: (keepHours, limit) => within(foldMeter(db, keepHours, limit)),
  };
}

/** Organizations' keys from Postgres, unwrapped with the platform's master key. */
export function createPostgresKeyRing(db: Database, masterKey: Uint8Array<ArrayBuffer>): KeyRing {
  return { load: (organizationId) => within(loadDataKeys(db, masterKey, organizationId)) };
}
