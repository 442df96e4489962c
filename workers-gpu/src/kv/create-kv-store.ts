import { randomBytes } from 'node:crypto';
import { BLOCK_TOKENS, type CacheIdentity, toHex } from '@longshore/core';
import { BufferPool } from './buffer-pool.ts';
import { Breaker } from './domain/breaker.ts';
import { blocksPerObject } from './domain/object-plan.ts';
import { rawBlockBytes, storedBlockBytes } from './domain/section-layout.ts';
import { type Hit, sliceRun } from './domain/slices.ts';
import { faultOf } from './fault.ts';
import { guarded } from './guard.ts';
import type { KvEngine, KvShape, KvStore, LookupRequest, StoredTail, TailRequest } from './kv-store.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import { MissExplainer } from './miss-explainer.ts';
import { KEY_PREFIX, ObjectWriter } from './object-writer.ts';
import { done, failed, type Outcome, type StoreFault } from './outcome.ts';
import { PlainBlocks } from './plain-blocks.ts';
import type { BlockDirectory, KeyRing, MissRecords, ObjectStore, Tier } from './ports.ts';
import { Publisher } from './publisher.ts';
import { Restorer } from './restorer.ts';
import { emptyStats } from './stats.ts';
import { DEFAULT_SWEEP_AGES, type SweepAges, Sweeper } from './sweeper.ts';
import { TenantCache } from './tenant-cache.ts';
import type { TenantKeys } from './tenant-keys.ts';
import { recomputeCost } from './tiers/recompute-cost.ts';
import { TieredObjects } from './tiers/tiered-objects.ts';
import { TouchThrottle } from './touch-throttle.ts';

export interface KvStoreOptions {
  engine: KvEngine;
  objects: ObjectStore;
  /** Nearer than `objects`, nearest first; default none. Closed with the KV store. */
  tiers?: readonly Tier[];
  /** Publishes fill the tiers too, not only restores. Default true. */
  writeThrough?: boolean;
  /** Milliseconds to prefill tokens [first, end): what losing them costs a tier. Default: proportional to their number. */
  estimateMs?: (firstToken: number, endToken: number) => number;
  directory: BlockDirectory;
  keyRing: KeyRing;
  /** core's namespaceOf. */
  namespace: Uint8Array;
  shape: KvShape;
  /** Where misses are explained from, and what the namespace is made of. Absent: misses are only named by the directory. */
  diagnosis?: { records: MissRecords; identity: CacheIdentity };
  workerId: string;
  /** Random per process start. */
  epoch: string;
  /** How long blocks are kept after their last use. */
  ttlSeconds: number;
  /** Blocks that may wait for export; default 4,096 (512 K tokens). */
  maxQueuedBlocks?: number;
  /** How long a lease outlives its last renewal. Default 2500. */
  leaseMs?: number;
  /** Between sweeps, spread by a fifth over the workers; 0: only when sweep() is called. Default 60,000. */
  sweepIntervalMs?: number;
  sweepAges?: SweepAges;
  /** Ask both dependencies something at once, so that no request pays for loading clients and connecting. Default true. */
  warmUp?: boolean;
  /** Hears of every fault once, for logs. */
  onFault?: (fault: StoreFault) => void;
  /** Milliseconds: `now` only grows, `date` is the time of day. Default: this machine's. */
  clock?: { now: () => number; date: () => number };
  /** For object keys and nonces; never the same bytes twice. Default: the operating system's. */
  random?: (size: number) => Uint8Array;
}

const BREAKER_FAILURES = 4;
const BREAKER_PAUSE_MS = 5000;
const LOOKUP_PAGE = 2048;
/** So long a miss can say why its blocks are gone. */
const DEPARTURES_SECONDS = 30 * 86_400;
const DEPARTURES_LIMIT = 500;
/** Enough for the objects that are read and written at a time. */
const IDLE_BUFFER_BYTES = 64 * 1024 * 1024;

/** Wires the KV tiers together. Ports are closed by whoever made them. */
export function createKvStore(options: KvStoreOptions): KvStore {
  const { engine, namespace, shape, workerId, epoch, ttlSeconds } = options;
  const { now, date } = options.clock ?? { now: () => performance.now(), date: () => Date.now() };
  const stats = emptyStats();
  const onFault = (fault: StoreFault) => {
    stats.faults[fault.kind]++;
    options.onFault?.(fault);
  };
  const objectBreaker = new Breaker(BREAKER_FAILURES, BREAKER_PAUSE_MS);
  const estimateMs = options.estimateMs ?? ((first: number, end: number) => end - first);
  const objects = new TieredObjects({
    // Only the store is behind the breaker: the tiers answer while it is down.
    store: guarded(options.objects, objectBreaker, 'object store', now),
    tiers: options.tiers ?? [],
    costOf: (body) => recomputeCost(body, estimateMs),
    writeThrough: options.writeThrough ?? true,
    onFault,
  });
  const databaseBreaker = new Breaker(BREAKER_FAILURES, BREAKER_PAUSE_MS);
  const directory = guarded(options.directory, databaseBreaker, 'database', now);
  const tenants = new TenantCache(guarded(options.keyRing, databaseBreaker, 'database', now), namespace, now);
  const buffers = new BufferPool(IDLE_BUFFER_BYTES);
  const writer = new ObjectWriter(objects, directory, buffers, {
    namespace,
    shape,
    workerId,
    stats,
    random: options.random ?? randomBytes,
  });
  const perObject = blocksPerObject(storedBlockBytes(shape, shape.codec));
  const transfer = {
    engine,
    objects,
    directory,
    buffers,
    tenants,
    writer,
    namespace,
    shape,
    blocksPerObject: perObject,
    maxQueuedBlocks: options.maxQueuedBlocks ?? 4096,
    ttlSeconds,
    stats,
    onFault,
    now,
  };
  const publisher = new Publisher(transfer);
  const restorer = new Restorer(transfer);
  const leases = new LeaseKeeper({ directory, workerId, epoch, stats, onFault, now, ttlMs: options.leaseMs });
  const sweeper = new Sweeper(objects, directory, options.sweepAges ?? DEFAULT_SWEEP_AGES, onFault, date);
  const { diagnosis } = options;
  const records = diagnosis && guarded(diagnosis.records, databaseBreaker, 'database', now);
  const explainer =
    diagnosis && records && new MissExplainer({ records, namespace, identity: diagnosis.identity, onFault, now });
  const noteNamespace = () => void (diagnosis && attempt(() => records!.noteNamespace(namespace, diagnosis.identity)));
  const touched = new TouchThrottle(now);
  let closed = false;
  let sweeping: Promise<unknown> = Promise.resolve();

  const interval = options.sweepIntervalMs ?? 60_000;
  const sweepTimer = interval > 0 ? setInterval(() => void sweep(), interval * (0.9 + 0.2 * Math.random())) : undefined;
  sweepTimer?.unref();

  async function attempt<T>(run: () => Promise<T>): Promise<Outcome<T>> {
    if (closed) return failed('closed', 'the KV store is closed');
    try {
      return done(await run());
    } catch (error) {
      const fault = faultOf(error);
      onFault(fault);
      return { ok: false, fault };
    }
  }

  if (options.warmUp ?? true) {
    void attempt(() => objects.head(`${KEY_PREFIX}warm-up`));
    void attempt(() => directory.findObject('', ''));
    noteNamespace();
  }

  async function touch(tenant: TenantKeys, hashes: readonly Uint8Array[], ttl = ttlSeconds): Promise<void> {
    const due = hashes.length > 0 && touched.due([`${toHex(hashes.at(-1)!)}:${ttl}`]).length > 0;
    if (due) await directory.touch(tenant.organizationId, hashes, ttl);
  }

  async function findHit({ tenant, hashes, from = 0, ttlSeconds: ttl }: LookupRequest): Promise<Hit> {
    const rows = [];
    for (let start = from; start < hashes.length; start += LOOKUP_PAGE) {
      const page = hashes.slice(start, start + LOOKUP_PAGE);
      const found = await directory.findBlocks(tenant.organizationId, namespace, page);
      rows.push(...found);
      if (found.length < page.length) break;
    }
    const rawBytes = shape.layers * rawBlockBytes(shape, BLOCK_TOKENS);
    const hit = sliceRun({ hashes, root: tenant.root, from, rawBlockBytes: rawBytes }, rows);
    stats.lookups++;
    stats.lookupBlocksAsked += hashes.length - from;
    stats.lookupBlocksHit += hit.blockCount;
    void attempt(() => touch(tenant, hashes.slice(0, from + hit.blockCount), ttl));
    return hit;
  }

  async function writeTail(request: TailRequest): Promise<StoredTail> {
    const release = await publisher.acquireSlot();
    try {
      const { tenant, parentHash, hash, firstToken, tokenCount, sessionId } = request;
      const blocks = Uint32Array.of(request.physicalBlock);
      const encoded = await engine.exportBlocks(blocks, 'raw', firstToken, tokenCount);
      const written = await writer.write({
        tenant,
        content: {
          codec: 'raw',
          partial: true,
          parentHash,
          firstToken,
          tokenCount,
          blockHashes: [hash],
          sections: encoded.layers,
        },
        blocks: [],
        rawBytes: encoded.rawBytes,
        ttlSeconds: request.ttlSeconds ?? ttlSeconds,
        sessionId,
      });
      stats.publishedBytes += written.storedBytes;
      stats.publishedRawBytes += encoded.rawBytes;
      return { objectKey: written.key, storedBytes: written.storedBytes };
    } finally {
      release();
    }
  }

  function sweep() {
    const run = sweeping.then(() => (closed ? failed('closed', 'the KV store is closed') : sweeper.sweep()));
    noteNamespace();
    if (records) void attempt(() => records.forgetDepartures(DEPARTURES_SECONDS, DEPARTURES_LIMIT));
    sweeping = run;
    return run;
  }

  return {
    namespace,
    shape,
    blocksPerObject: perObject,
    tierOf: (key) => objects.tierOf(key),
    leases,
    plain: new PlainBlocks(transfer),
    async tenant(organizationId) {
      if (closed) return failed('closed', 'the KV store is closed');
      const outcome = await tenants.get(organizationId);
      if (!outcome.ok) onFault(outcome.fault);
      return outcome;
    },
    lookup: (request) => attempt(() => findHit(request)),
    explain: async (request) => explainer?.explain(request) ?? done(undefined),
    restore: (request) =>
      closed ? Promise.resolve(failed('closed', 'the KV store is closed')) : restorer.restore(request),
    async restoreRun(request) {
      if (closed) return { blocks: 0, bytes: 0, ms: 0, ...failed('closed', 'the KV store is closed') };
      return restorer.restoreRun(request);
    },
    publish: (request) => publisher.publish(request),
    putTail(request) {
      if (request.tokenCount < 1 || request.tokenCount >= BLOCK_TOKENS || request.firstToken % BLOCK_TOKENS !== 0)
        throw new RangeError('a tail has 1 to 127 tokens and starts on a block boundary');
      const work = attempt(() => writeTail(request));
      publisher.track(work);
      return work;
    },
    getTail: (request) =>
      closed ? Promise.resolve(failed('closed', 'the KV store is closed')) : restorer.getTail(request),
    touch: (tenant, hashes, ttl) => attempt(() => touch(tenant, hashes, ttl)),
    remove: (tenant, hashes) => attempt(() => directory.removeBlocks(tenant.organizationId, hashes)),
    sweep,
    async flush(timeoutMs) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<boolean>((resolve) => {
        timer = setTimeout(() => resolve(false), timeoutMs);
      });
      const idle = publisher.idle().then(() => true);
      return Promise.race([idle, late]).finally(() => clearTimeout(timer));
    },
    stats: () => ({
      ...stats,
      faults: { ...stats.faults },
      storeBreakerOpen: objectBreaker.isOpen(now()),
      tiers: objects.stats(),
    }),
    async close() {
      if (closed) return;
      closed = true;
      clearInterval(sweepTimer);
      publisher.close();
      await this.flush(2000);
      publisher.abandon();
      await leases.close();
      await objects.close();
    },
  };
}
