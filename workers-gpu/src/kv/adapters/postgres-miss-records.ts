import {
  type Database,
  findDeparture,
  findNamespace,
  findSiblings,
  forgetDepartures,
  knownHashes,
  noteNamespace,
  recentNamespaces,
} from '@longshore/db';
import type { MissRecords } from '../ports.ts';
import { within } from './query-deadline.ts';

export function createPostgresMissRecords(db: Database): MissRecords {
  return {
    findDeparture: (organizationId, hash) => within(findDeparture(db, organizationId, hash)),
    findSiblings: (organizationId, parentHash, limit) => within(findSiblings(db, organizationId, parentHash, limit)),
    knownHashes: (organizationId, hashes) => within(knownHashes(db, organizationId, hashes)),
    recentNamespaces: (own, limit) => within(recentNamespaces(db, own, limit)),
    findNamespace: (namespace) => within(findNamespace(db, namespace)),
    noteNamespace: (namespace, identity) => within(noteNamespace(db, { namespace, identity: { ...identity } })),
    forgetDepartures: (seconds, limit) => within(forgetDepartures(db, seconds, limit)),
  };
}
