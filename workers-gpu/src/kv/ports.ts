import type { CacheIdentity } from '@longshore/core';
import type {
  DepartureReason,
  FoundBlock,
  LeaseClaim,
  LeaseHolder,
  LeaseProgress,
  MarkedReady,
  NamespaceRecord,
  NewKvBlock,
  NewKvObject,
  OpenedDataKey,
  Pinned,
  Removed,
  Reservation,
  RetireReason,
  SiblingBlock,
  StoredKey,
} from '@longshore/db';

/**
 * `truncated`: the object exists and is shorter than its directory row says. `over_quota`: the organization's quota is full and nothing
 * of its own could go. `orphaned`: the chain before what was published is not stored any more.
 */
export type StoreErrorKind =
  | 'unavailable'
  | 'timeout'
  | 'missing'
  | 'truncated'
  | 'cancelled'
  | 'over_quota'
  | 'orphaned';

/** The only error that ports reject with. */
export class StoreError extends Error {
  readonly kind: StoreErrorKind;
  constructor(kind: StoreErrorKind, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'StoreError';
    this.kind = kind;
  }
}

export interface ObjectInfo {
  key: string;
  /** Bytes. */
  size: number;
  modifiedAt: Date;
}

export interface ReadOptions {
  /** First byte to read; the target's length says how many. Default 0. */
  offset?: number;
  signal?: AbortSignal;
  /** Called with the number of bytes in `target` so far; what it throws ends the read and is thrown on. */
  onProgress?: (filled: number) => void;
}

/**
 * Immutable objects under keys that are never written twice. Every method rejects with StoreError only, within a stated
 * time: no call hangs.
 */
export interface ObjectStore {
  readonly tier: 's3' | 'disk' | 'host';
  /** Whole and durable when it resolves. `crc32` (zlib's, of body) is checked by stores that can. */
  put(key: string, body: Uint8Array, crc32: number): Promise<void>;
  /** undefined when there is no such object. */
  head(key: string): Promise<ObjectInfo | undefined>;
  /** Fills `target`. Rejects `missing` when there is no object, `truncated` when it ends before the target is full. */
  readInto(key: string, target: Uint8Array, options?: ReadOptions): Promise<void>;
  /** No key is another key's folder. Keys with this prefix in byte order, after `after`, at most `limit`. */
  list(prefix: string, after: string | undefined, limit: number): Promise<ObjectInfo[]>;
  /** Idempotent. */
  delete(key: string): Promise<void>;
  close(): Promise<void>;
}

export interface TierStats {
  name: 'host' | 'disk';
  budgetBytes: number;
  /** Gauge: held, being written and being deleted; never above the budget. */
  bytes: number;
  pinnedBytes: number;
  objects: number;
  /** Reads that were served, and reads of what was not there. */
  hits: number;
  misses: number;
  servedBytes: number;
  fills: number;
  filledBytes: number;
  evictions: number;
  expirations: number;
  /** Not admitted: worth less than what it would have displaced, or no room beside pins and reads. */
  refusals: number;
  /** The medium failed: no space, an I/O error, or its breaker is open. */
  fillFailures: number;
  /** Copies found torn, foreign or unreadable, and deleted. */
  badCopies: number;
}

/**
 * A bounded cache of whole sealed objects, nearer than the object store. It never holds the only copy, so it may forget anything at any
 * time, and a failure of its medium is a miss. Its bytes never exceed the budget, not even while it writes.
 */
export interface Tier {
  readonly name: 'host' | 'disk';
  /** At once, without I/O. */
  has(key: string): boolean;
  /**
   * Fills `target` as ObjectStore.readInto does and resolves true; false when the object is not (or no longer, or not whole) there,
   * `target` may have been written to then. Rejects with what the reader throws, `cancelled`, or `timeout`, after which the read may
   * still be filling `target`.
   */
  readInto(key: string, target: Uint8Array, options?: ReadOptions): Promise<boolean>;
  /** Without I/O: whether `fill` of so many bytes has a chance, so that the copy for it is not made in vain. */
  accepts(key: string, bytes: number): boolean;
  /**
   * Keeps an object that costs `costMs` to compute again; `body` belongs to the tier from then on and must not change. True when it is
   * held afterwards. Never rejects.
   */
  fill(key: string, body: Uint8Array, costMs: number): Promise<boolean>;
  /** Idempotent, never rejects. */
  remove(key: string): Promise<void>;
  /** Neither evicted nor expired until `unpin`. False: not held, or pins hold their share of the budget. */
  pin(key: string): boolean;
  unpin(key: string): void;
  /** Held keys in a stable order, after `after`. */
  keys(after: string | undefined, limit: number): string[];
  /** Deletes what was not used for longer than the tier's time to live, at most `limit` objects; how many. */
  expire(limit: number): Promise<number>;
  stats(): TierStats;
  /** Throws an Error that names what is wrong. */
  checkIntegrity(): void;
  /** Ends what it does in the background, in bounded time. */
  close(): Promise<void>;
}

/** The block directory, leases and sweeps; see db/src/queries for each call's exact effect. Rejects with StoreError only. */
export interface BlockDirectory {
  findBlocks(organizationId: string, namespace: Uint8Array, hashes: readonly Uint8Array[]): Promise<FoundBlock[]>;
  /** Stored bytes of a ready object; undefined when there is none. */
  findObject(organizationId: string, key: string): Promise<{ storedBytes: number } | undefined>;
  reserve(object: NewKvObject): Promise<Reservation>;
  markReady(key: string, blocks: readonly NewKvBlock[]): Promise<MarkedReady | undefined>;
  /** `hashes`: the used chain from its start on. */
  touch(organizationId: string, hashes: readonly Uint8Array[], ttlSeconds: number): Promise<void>;
  pin(organizationId: string, headHash: Uint8Array, holder: string): Promise<Pinned>;
  unpin(organizationId: string, holder: string): Promise<number>;
  retire(keys: readonly string[], reason: RetireReason): Promise<number>;
  quarantine(organizationId: string, key: string, reason: string): Promise<boolean>;
  removeBlocks(organizationId: string, hashes: readonly Uint8Array[]): Promise<Removed>;

  acquireLease(claim: LeaseClaim): Promise<'acquired' | LeaseHolder>;
  renewLease(claim: LeaseClaim, progress: LeaseProgress): Promise<boolean>;
  releaseLease(claim: LeaseClaim): Promise<void>;
  observeLease(organizationId: string, hashes: readonly Uint8Array[], index: number): Promise<LeaseHolder | undefined>;

  retireAbandoned(olderThanSeconds: number, limit: number): Promise<number>;
  retireExpired(limit: number): Promise<number>;
  retireOrphans(quarantinedForSeconds: number, limit: number): Promise<number>;
  retireOrphanTails(olderThanSeconds: number, limit: number): Promise<number>;
  expireSessions(limit: number): Promise<number>;
  findDeletable(graceSeconds: number, limit: number): Promise<string[]>;
  deleteRows(keys: readonly string[]): Promise<void>;
  findUnknownKeys(keys: readonly string[]): Promise<string[]>;
  findReadyKeys(
    after: string | undefined,
    upTo: string | undefined,
    olderThanSeconds: number,
    limit: number,
  ): Promise<StoredKey[]>;
  deleteStaleLeases(limit: number): Promise<number>;
  foldMeter(keepHours: number, limit: number): Promise<number>;
  /** Keys that nothing is sealed with any more. */
  destroyRetiredKeys(limit: number): Promise<number>;
}

/** What explains misses; see db/src/queries/kv-diagnosis.ts. Rejects with StoreError only. */
export interface MissRecords {
  findDeparture(organizationId: string, hash: Uint8Array): Promise<DepartureReason | undefined>;
  findSiblings(organizationId: string, parentHash: Uint8Array, limit: number): Promise<SiblingBlock[]>;
  knownHashes(organizationId: string, hashes: readonly Uint8Array[]): Promise<Uint8Array[]>;
  recentNamespaces(own: Uint8Array, limit: number): Promise<NamespaceRecord[]>;
  findNamespace(namespace: Uint8Array): Promise<NamespaceRecord | undefined>;
  noteNamespace(namespace: Uint8Array, identity: CacheIdentity): Promise<void>;
  forgetDepartures(olderThanSeconds: number, limit: number): Promise<number>;
}

/** Where organizations' keys come from, unwrapped, newest first. Rejects with StoreError only. */
export interface KeyRing {
  load(organizationId: string): Promise<OpenedDataKey[]>;
}
