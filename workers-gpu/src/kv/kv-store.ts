import type { LeaseProgress } from '@longshore/db';
import type { Codec, Engine, KvDtype } from '@longshore/native';
import type { Hit, ObjectSlice } from './domain/slices.ts';
import type { ExplainRequest, Explanation } from './miss-explainer.ts';
import type { Outcome, StoreFault } from './outcome.ts';
import type { PlainBlocks } from './plain-blocks.ts';
import type { KvStoreStats } from './stats.ts';
import type { TenantKeys } from './tenant-keys.ts';

/**
 * The KV tiers below the device, seen by the scheduler. Every method that does I/O resolves to an Outcome: caches fail
 * open, so no method rejects because a store, a database or a stored byte is bad. Block indices count in blocks of 128
 * tokens from the chain's start; hashes[i] is h(i) of block i (core's chainHashes over tenant.root).
 */

/** What the store needs of the engine. */
export type KvEngine = Pick<Engine, 'exportBlocks' | 'importBlocks'> & Partial<Pick<Engine, 'importSealed'>>;

/** Shape of the stored KV; with the tenant and the tokens it decides every stored byte. */
export interface KvShape {
  layers: number;
  kvHeads: number;
  headDim: number;
  kvDtype: KvDtype;
  codec: Codec;
}

export interface LookupRequest {
  tenant: TenantKeys;
  /** h(0), h(1), … of the whole chain. */
  hashes: readonly Uint8Array[];
  /** First block that is wanted (earlier ones are resident). Default 0. */
  from?: number;
  /** How long what is found is kept from now on; default: the store's. */
  ttlSeconds?: number;
}

export interface RestoreRequest {
  tenant: TenantKeys;
  slice: ObjectSlice;
  /** One physical block for each wanted block. */
  physicalBlocks: Uint32Array;
  /**
   * Asked once, with the wanted blocks [first, end), when everything is read and before the engine is written: the first block that is
   * still wanted (those before it were computed meanwhile), undefined when none is. No step may touch the blocks from there on until
   * the outcome is there. Default: all are.
   */
  claim?: (firstBlock: number, endBlock: number) => number | undefined;
  /** Hears of every piece read, in stored bytes. */
  onBytes?: (bytes: number) => void;
  signal?: AbortSignal;
}

export type StoreTier = 'host' | 'disk' | 's3';

export interface Restored {
  /** The last ones of those wanted, as many as were claimed. */
  blocks: number;
  /** That served. */
  tier: StoreTier;
  /** Stored bytes read. */
  bytes: number;
  /** Waiting for a free reading slot not included. */
  ms: number;
}

export interface RestoreRunRequest {
  tenant: TenantKeys;
  slices: readonly ObjectSlice[];
  /** One physical block for each wanted block of all slices, in order. */
  physicalBlocks: Uint32Array;
  /** Called as the contiguous restored front grows. */
  onProgress?: (blocks: number) => void;
  signal?: AbortSignal;
}

export interface RestoredRun {
  /** The farthest that served; undefined: none did. */
  tier?: StoreTier;
  /** Blocks restored without a gap from the first slice on; whatever lies behind a failed slice is not counted. */
  blocks: number;
  bytes: number;
  ms: number;
  /** The first failed slice's fault. */
  fault?: StoreFault;
}

export interface PublishRequest {
  tenant: TenantKeys;
  /** h(0) … of the chain, at least up to firstBlock + physicalBlocks.length - 1. */
  hashes: readonly Uint8Array[];
  /** Index in the chain of physicalBlocks[0]. All blocks are complete (128 tokens). */
  firstBlock: number;
  physicalBlocks: Uint32Array;
  /** The chain's tokens, at least up to the last published block's end: kept, sealed, so that a later miss can say where it diverged. */
  tokens?: readonly number[];
  /** How long the blocks are kept after their last use; default: the store's. */
  ttlSeconds?: number;
}

export interface Published {
  /** Blocks that are now in the store, whoever put them there. */
  blocks: number;
  /** Of those, blocks this call wrote. */
  written: number;
  storedBytes: number;
  rawBytes: number;
}

/** A publish that runs in the background. Neither promise rejects. */
export interface PublishHandle {
  /** The engine has been read: the physical blocks may be written, moved or freed. */
  exported: Promise<void>;
  /** All blocks are ready, or the first fault. */
  done: Promise<Outcome<Published>>;
}

/** A session's partial last block: 1 to 127 tokens, stored raw whatever the codec, under its own hash. */
export interface TailRequest {
  tenant: TenantKeys;
  sessionId: string;
  /** h of the last complete block; the tenant's root when there is none. */
  parentHash: Uint8Array;
  /** core's nextHash(parentHash, tokens, firstToken, firstToken + tokenCount). */
  hash: Uint8Array;
  /** Multiple of 128. */
  firstToken: number;
  tokenCount: number;
  physicalBlock: number;
  ttlSeconds?: number;
}

export interface StoredTail {
  /** Goes into sessions.tail_object_key when the turn commits; a tail that no session names is swept. */
  objectKey: string;
  storedBytes: number;
}

export type GetTailRequest = Omit<TailRequest, 'sessionId' | 'ttlSeconds'> &
  Pick<RestoreRequest, 'claim' | 'signal'> & { objectKey: string };

/** The right to compute a chain from its first missing block on; renewed by itself until released or lost. */
export interface Lease {
  /** True once a renewal found that another worker took over. Computing on is harmless, only wasteful. */
  readonly lost: boolean;
  /** Idempotent. The row goes when the last of this worker's requests that share it has released it. */
  release(): Promise<void>;
}

export interface ClaimRequest {
  tenant: TenantKeys;
  /** h(0), h(1), … of the chain up to the last block to be computed. */
  hashes: readonly Uint8Array[];
  /** Index of the first missing block. */
  firstBlock: number;
  /** Asked at every renewal: blocks from the chain's start that are on the device, and what a block costs here. */
  progress: () => LeaseProgress;
}

/** Someone else's lease, seen along one's own chain. */
export interface ForeignClaim {
  workerId: string;
  expiresInMs: number;
  /** Blocks of this chain, from its start, that exist when the holder is done. */
  reach: number;
  computedBlocks: number;
  blockMs: number | undefined;
}

/** `shared`: another request of this worker holds it, and it lives until both have released it. */
export type LeaseAttempt =
  | { state: 'acquired'; lease: Lease }
  | { state: 'shared'; lease: Lease }
  | { state: 'held'; claim: ForeignClaim };

/** Single-flight between workers: one computes a prefix, the others see how far it is and restore what it stores. */
export interface Leases {
  claim(request: ClaimRequest): Promise<Outcome<LeaseAttempt>>;
  /** Who computes block `index` of this chain now; undefined when nobody does or the lease has run out. */
  observe(tenant: TenantKeys, hashes: readonly Uint8Array[], index: number): Promise<Outcome<ForeignClaim | undefined>>;
}

export interface SweepReport {
  /** Reservations whose publisher died, now tombstones. */
  abandoned: number;
  expired: number;
  /** Descendants of quarantined objects that nobody published again. */
  orphaned: number;
  orphanTails: number;
  expiredSessions: number;
  /** Objects and rows deleted past their grace. */
  deleted: number;
  /** Objects in the bucket that no row names. */
  orphanObjects: number;
  /** Rows whose object is not in the bucket, now quarantined. */
  lostObjects: number;
  /** True when a bound ended the run before everything was looked at. */
  more: boolean;
}

export interface KvStore {
  /** SHA-256 of the cache identity (core's namespaceOf). */
  readonly namespace: Uint8Array;
  readonly shape: KvShape;
  /** Complete blocks that share one object; publishing in multiples of it makes the best objects. */
  readonly blocksPerObject: number;
  readonly leases: Leases;
  /** Stored KV as bytes, for exports and imports of sessions. */
  readonly plain: Pick<PlainBlocks, 'read' | 'readTail' | 'write' | 'writeTail'>;

  /** The tenant's keys and chain root; cached for 30 s. Without them the request runs uncached. */
  tenant(organizationId: string): Promise<Outcome<TenantKeys>>;
  lookup(request: LookupRequest): Promise<Outcome<Hit>>;
  /** The nearest tier that holds the object now: where a restore would read it. At once, without I/O. */
  tierOf(objectKey: string): StoreTier;
  /** Why a block that `lookup` did not know is not there, and where the prompt left what is stored. Undefined without records. */
  explain(request: ExplainRequest): Promise<Outcome<Explanation | undefined>>;
  restore(request: RestoreRequest): Promise<Outcome<Restored>>;
  /** Restores many slices, several at a time, and says how far the run is whole; what lies behind a fault is given up. */
  restoreRun(request: RestoreRunRequest): Promise<RestoredRun>;
  /** Never waits: a full queue answers `overloaded` through the handle. */
  publish(request: PublishRequest): PublishHandle;
  putTail(request: TailRequest): Promise<Outcome<StoredTail>>;
  getTail(request: GetTailRequest): Promise<Outcome<Restored>>;
  /**
   * The chain h(0) … was used, wherever its blocks are: slides its expiry to now + ttl (default: the store's) where that is later. A
   * chain is written at most once a minute.
   */
  touch(tenant: TenantKeys, hashes: readonly Uint8Array[], ttlSeconds?: number): Promise<Outcome<void>>;
  /**
   * Tombstones the objects that hold these blocks; nobody is billed for them from then on, and their bytes go after the grace. `kept`:
   * objects that another chain continues, or that are pinned.
   */
  remove(tenant: TenantKeys, hashes: readonly Uint8Array[]): Promise<Outcome<{ objects: number; kept: number }>>;
  /** One bounded pass over what crashes, expiry and deletes left behind. */
  sweep(): Promise<Outcome<SweepReport>>;
  /** Resolves when every accepted publish has ended, or after `timeoutMs`: false then. */
  flush(timeoutMs: number): Promise<boolean>;
  stats(): KvStoreStats;
  /** Idempotent: refuses new work, ends timers, lets running publishes end for at most 2 s. */
  close(): Promise<void>;
}
