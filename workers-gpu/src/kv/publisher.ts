import { BLOCK_TOKENS, toHex } from '@longshore/core';
import { sealBlockTokens } from './block-tokens.ts';
import { type BlockRun, planObjects } from './domain/object-plan.ts';
import { faultOf } from './fault.ts';
import type { KvEngine, KvShape, Published, PublishHandle, PublishRequest } from './kv-store.ts';
import type { ObjectWriter } from './object-writer.ts';
import { done, failed, type Outcome, type StoreFault } from './outcome.ts';
import type { BlockDirectory } from './ports.ts';
import { Slots } from './slots.ts';
import type { KvStoreStats } from './stats.ts';

/** Objects exported, sealed and put at a time: bounds both the memory (about 3 objects' bytes each) and the load on the engine. */
const CONCURRENT_OBJECTS = 2;

export interface PublisherOptions {
  engine: KvEngine;
  directory: BlockDirectory;
  writer: ObjectWriter;
  namespace: Uint8Array;
  shape: KvShape;
  blocksPerObject: number;
  maxQueuedBlocks: number;
  ttlSeconds: number;
  stats: KvStoreStats;
  onFault: (fault: StoreFault) => void;
  now: () => number;
}

/** A block on its way. */
interface Arrival {
  /** Of the whole request. */
  outcome: Promise<Outcome<Published>>;
  /** The block's object is ready, or will not be. */
  landed: PromiseWithResolvers<void>;
}

/** One publish request on its way. */
interface Job {
  request: PublishRequest;
  /** Blocks of the request that still hold the engine's memory. */
  unexported: number;
  written: number;
  storedBytes: number;
  rawBytes: number;
  fault?: StoreFault;
}

/**
 * Publishes in the background. Objects are put as they come and made ready parents first: the directory takes no block whose parent it
 * does not have. Blocks that the directory has, or that another request of this worker is publishing,
 * are not written again. The queue counts blocks whose memory is still held; beyond its bound a request is refused at once.
 */
export class Publisher {
  private readonly options: PublisherOptions;
  private readonly slots = new Slots(CONCURRENT_OBJECTS, Number.POSITIVE_INFINITY);
  /** Hex hash -> the publish that is bringing it. */
  private readonly inFlight = new Map<string, Arrival>();
  private readonly running = new Set<Promise<unknown>>();
  private closed = false;
  private abandoned = false;

  constructor(options: PublisherOptions) {
    this.options = options;
  }

  publish(request: PublishRequest): PublishHandle {
    const count = request.physicalBlocks.length;
    if (count < 1 || request.hashes.length < request.firstBlock + count)
      throw new RangeError('publish needs at least one block, and the hash of each');
    const refusal = this.refuses(count);
    if (refusal) {
      this.options.stats.droppedBlocks += count;
      this.options.onFault(refusal.fault);
      return { exported: Promise.resolve(), done: Promise.resolve(refusal) };
    }
    const job: Job = { request, unexported: count, written: 0, storedBytes: 0, rawBytes: 0 };
    this.options.stats.publishQueueBlocks += count;
    const exported = Promise.withResolvers<void>();
    const finished = this.run(job, exported.resolve);
    this.track(finished);
    return { exported: exported.promise, done: finished };
  }

  private refuses(count: number) {
    if (this.closed) return failed('closed', 'the KV store is closed');
    const { stats, maxQueuedBlocks } = this.options;
    if (stats.publishQueueBlocks + count <= maxQueuedBlocks) return undefined;
    return failed(
      'overloaded',
      `${stats.publishQueueBlocks} blocks wait to be published; at most ${maxQueuedBlocks} may`,
    );
  }

  /** Also counts work that is not a publish (tails) as running. */
  track(work: Promise<unknown>): void {
    this.running.add(work);
    void work.finally(() => this.running.delete(work)).catch(() => {});
  }

  /** Resolves when everything accepted so far has ended. */
  async idle(): Promise<void> {
    while (this.running.size > 0) await Promise.allSettled(this.running);
  }

  /** Refuses new requests; accepted ones go on. */
  close(): void {
    this.closed = true;
  }

  /** Accepted requests write no further object. */
  abandon(): void {
    this.abandoned = true;
  }

  /** A turn among the objects being written; tails take it too. */
  acquireSlot(): Promise<() => void> {
    return this.slots.acquire()!;
  }

  private async run(job: Job, exported: () => void): Promise<Outcome<Published>> {
    const { firstBlock, physicalBlocks, hashes } = job.request;
    const names = Array.from(physicalBlocks, (_, index) => toHex(hashes[firstBlock + index]!));
    const others = new Set(names.flatMap((name) => this.inFlight.get(name)?.outcome ?? []));
    const outcome = Promise.withResolvers<Outcome<Published>>();
    const mine = new Map<string, Arrival>();
    for (const name of names) {
      if (this.inFlight.has(name)) continue;
      const arrival = { outcome: outcome.promise, landed: Promise.withResolvers<void>() };
      mine.set(name, arrival);
      this.inFlight.set(name, arrival);
    }
    try {
      await this.writeMissing(job, names, mine, exported);
    } catch (error) {
      job.fault ??= faultOf(error);
    } finally {
      this.release(job, job.unexported);
      exported();
      for (const [name, arrival] of mine) {
        arrival.landed.resolve();
        this.inFlight.delete(name);
      }
    }
    if (job.fault) this.options.onFault(job.fault);
    const { written, storedBytes, rawBytes } = job;
    if (!job.fault) this.options.stats.duplicateBlocks += names.length - written;
    outcome.resolve(
      job.fault ? { ok: false, fault: job.fault } : done({ blocks: names.length, written, storedBytes, rawBytes }),
    );
    const own = await outcome.promise;
    if (!own.ok) return own;
    for (const other of await Promise.all(others)) if (!other.ok) return other;
    return own;
  }

  private async writeMissing(
    job: Job,
    names: string[],
    mine: ReadonlyMap<string, Arrival>,
    exported: () => void,
  ): Promise<void> {
    const { tenant, hashes, firstBlock } = job.request;
    const asked = names.flatMap((name, index) => (mine.has(name) ? hashes[firstBlock + index]! : []));
    const rows = asked.length === 0 ? [] : await this.findRows(tenant.organizationId, asked);
    const stored = new Set(rows.flatMap((row) => (row.state === 'ready' && !row.expired ? toHex(row.hash) : [])));
    const skipped = (index: number) => !mine.has(names[index]!) || stored.has(names[index]!);
    const runs = planObjects(names.length, skipped, this.options.blocksPerObject);
    this.release(job, names.filter((_, index) => skipped(index)).length);
    for (const name of stored) mine.get(name)?.landed.resolve();

    const writes: Promise<void>[] = [];
    let unexportedRuns = runs.length;
    for (const run of runs) {
      const release = await this.acquireSlot();
      if (job.fault || this.abandoned) {
        release();
        job.fault ??= failed('closed', 'the KV store is closed').fault;
        break;
      }
      const exportedRun = () => {
        unexportedRuns--;
        if (unexportedRuns === 0) exported();
      };
      const write = this.writeRun(job, run, exportedRun, release)
        .catch((error) => {
          job.fault ??= faultOf(error);
        })
        .finally(() => {
          for (const name of names.slice(run.start, run.start + run.count)) mine.get(name)!.landed.resolve();
        });
      writes.push(write);
    }
    await Promise.all(writes);
  }

  private async findRows(organizationId: string, hashes: Uint8Array[]) {
    const pages = [];
    for (let start = 0; start < hashes.length; start += 2048)
      pages.push(
        await this.options.directory.findBlocks(
          organizationId,
          this.options.namespace,
          hashes.slice(start, start + 2048),
        ),
      );
    return pages.flat();
  }

  /** `release`: called once the object is put; waiting for its parents must not keep theirs from being put. */
  private async writeRun(job: Job, run: BlockRun, exported: () => void, release: () => void): Promise<void> {
    const { stats, writer, now } = this.options;
    const startedAt = now();
    stats.publishesRunning++;
    try {
      const { put, blocks, rawBytes } = await this.putRun(job, run, exported).finally(release);
      await this.inFlight.get(toHex(blocks[0]!.parentHash))?.landed.promise;
      const written = await writer.commit(put, blocks);
      job.written += written.taken;
      if (written.taken > 0) {
        job.storedBytes += written.storedBytes;
        job.rawBytes += rawBytes;
        stats.publishedBlocks += written.taken;
        stats.publishedBytes += written.storedBytes;
        stats.publishedRawBytes += rawBytes;
      }
      stats.publishMs += now() - startedAt;
    } finally {
      stats.publishesRunning--;
    }
  }

  private async putRun(job: Job, run: BlockRun, exported: () => void) {
    const { engine, shape, writer } = this.options;
    const { tenant, hashes, physicalBlocks, tokens } = job.request;
    const firstBlock = job.request.firstBlock + run.start;
    const firstToken = firstBlock * BLOCK_TOKENS;
    const encoded = await engine.exportBlocks(
      physicalBlocks.slice(run.start, run.start + run.count),
      shape.codec,
      firstToken,
    );
    this.release(job, run.count);
    exported();
    const blockHashes = hashes.slice(firstBlock, firstBlock + run.count);
    const parentOf = (index: number) => (index === 0 ? tenant.root : hashes[index - 1]!);
    const blocks = blockHashes.map((hash, index) => ({
      hash,
      parentHash: parentOf(firstBlock + index),
      blockIndex: firstBlock + index,
      indexInObject: index,
      sealedTokens: tokens && sealBlockTokens(tenant, hash, tokensOf(tokens, firstBlock + index)),
    }));
    const put = await writer.put({
      tenant,
      content: {
        codec: shape.codec,
        partial: false,
        parentHash: parentOf(firstBlock),
        firstToken,
        tokenCount: run.count * BLOCK_TOKENS,
        blockHashes,
        sections: encoded.layers,
      },
      blocks,
      rawBytes: encoded.rawBytes,
      ttlSeconds: job.request.ttlSeconds ?? this.options.ttlSeconds,
    });
    return { put, blocks, rawBytes: encoded.rawBytes };
  }

  private release(job: Job, blocks: number): void {
    job.unexported -= blocks;
    this.options.stats.publishQueueBlocks -= blocks;
  }
}

const tokensOf = (tokens: readonly number[], block: number) =>
  tokens.slice(block * BLOCK_TOKENS, (block + 1) * BLOCK_TOKENS);
