import {
  acquireLease,
  type Database,
  deleteObjectRows,
  deleteStaleLeases,
  destroyRetiredKeys,
  expireSessions,
  findBlocks,
  findDeletable,
  findReadyKeys,
  findReadyObject,
  findUnknownKeys,
  foldMeter,
  loadDataKeys,
  type MasterKeyOrBytes,
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
import type { BlockDirectory, KeyRing } from '../ports.ts';
import { within } from './query-deadline.ts';

export interface PostgresDirectoryOptions {
  /** For organizations without a quota of their own; absent: no limit. */
  defaultQuotaBytes?: number | undefined;
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
    renewLease: (claim, progress) => within(renewLease(db, claim, progress)),
    releaseLease: (claim) => within(releaseLease(db, claim)),
    observeLease: (organizationId, hashes, index) => within(observeLease(db, organizationId, hashes, index)),
    retireAbandoned: (seconds, limit) => within(retireAbandoned(db, seconds, limit)),
    retireExpired: (limit) => within(retireExpired(db, limit)),
    retireOrphans: (seconds, limit) => within(retireOrphans(db, seconds, limit)),
    retireOrphanTails: (seconds, limit) => within(retireOrphanTails(db, seconds, limit)),
    expireSessions: (limit) => within(expireSessions(db, limit)),
    findDeletable: (graceSeconds, limit) => within(findDeletable(db, graceSeconds, limit)),
    deleteRows: (keys) => within(deleteObjectRows(db, keys)),
    findReadyKeys: (after, upTo, seconds, limit) => within(findReadyKeys(db, after, upTo, seconds, limit)),
    findUnknownKeys: (keys) => within(findUnknownKeys(db, keys)),
    deleteStaleLeases: (limit) => within(deleteStaleLeases(db, limit)),
    destroyRetiredKeys: (limit) => within(destroyRetiredKeys(db, limit)),
    foldMeter: (keepHours, limit) => within(foldMeter(db, keepHours, limit)),
  };
}

/** Organizations' keys from Postgres, unwrapped with the platform's master key. */
export function createPostgresKeyRing(db: Database, masterKey: MasterKeyOrBytes): KeyRing {
  return { load: (organizationId) => within(loadDataKeys(db, masterKey, organizationId)) };
}
