import { BLOCK_TOKENS, type Codec, equalBytes, type ObjectHeader } from '@longshore/core';
import { EngineError } from '@longshore/native';
import type { BufferPool } from './buffer-pool.ts';
import { farthestTier } from './domain/farthest-tier.ts';
import { type ByteBounds, blockRanges, type SectionBlocks, sectionBounds } from './domain/section-layout.ts';
import { contradictsSlice, type ObjectSlice } from './domain/slices.ts';
import { faultOf, Mismatch, UnknownKey } from './fault.ts';
import type {
  GetTailRequest,
  KvEngine,
  KvShape,
  Restored,
  RestoredRun,
  RestoreRequest,
  RestoreRunRequest,
  StoreTier,
} from './kv-store.ts';
import { done, failed, type Outcome, type StoreFault } from './outcome.ts';
import type { BlockDirectory } from './ports.ts';
import { Slots } from './slots.ts';
import type { KvStoreStats } from './stats.ts';
import { SealedObjectReader, sealedObjectBytes } from './stored-object.ts';
import type { TenantCache } from './tenant-cache.ts';
import type { TenantKeys } from './tenant-keys.ts';
import type { TieredObjects } from './tiers/tiered-objects.ts';

/** Objects read at a time, and how many more may wait: bounds the memory to about 2 objects' bytes for each. */
const CONCURRENT_READS = 4;
const MAX_WAITING_READS = 4096;

export interface RestorerOptions {
  engine: KvEngine;
  objects: TieredObjects;
  directory: BlockDirectory;
  buffers: BufferPool;
  tenants: TenantCache;
  namespace: Uint8Array;
  shape: KvShape;
  stats: KvStoreStats;
  onFault: (fault: StoreFault) => void;
  now: () => number;
}

/** One object to be read, and where it goes. */
interface Reading extends Pick<RestoreRequest, 'claim' | 'onBytes' | 'signal'> {
  tenant: TenantKeys;
  key: string;
  storedBytes: number;
  blocksInObject: number;
  /** Place of the first wanted block in the object, and in the chain. */
  indexInObject: number;
  firstBlock: number;
  codec: Codec;
  /** Plain bytes of each section. */
  sectionBytes: ByteBounds;
  contradiction: (header: ObjectHeader) => string | undefined;
  physicalBlocks: Uint32Array;
  /** Of the last block. */
  lastTokens: number;
}

interface Imported {
  /** That were still wanted and now hold their KV. */
  blocks: number;
  tier: StoreTier;
}

/** Reads, verifies and imports stored objects. An object that contradicts itself or its chain is quarantined, never imported. */
export class Restorer {
  private readonly options: RestorerOptions;
  private readonly slots = new Slots(CONCURRENT_READS, MAX_WAITING_READS);
  /** The engine said that it cannot open seals here: they are opened in this process, by node:crypto. */
  private withoutNativeSeal = false;

  constructor(options: RestorerOptions) {
    this.options = options;
  }

  restore(request: RestoreRequest): Promise<Outcome<Restored>> {
    const { tenant, slice, physicalBlocks, claim, onBytes, signal } = request;
    if (physicalBlocks.length !== slice.hashes.length)
      throw new RangeError('restore needs a physical block for each wanted block');
    const { shape } = this.options;
    const stored: SectionBlocks = {
      firstBlock: slice.firstBlock - slice.indexInObject,
      count: slice.objectBlocks,
      lastTokens: BLOCK_TOKENS,
    };
    return this.read({
      tenant,
      key: slice.key,
      storedBytes: slice.storedBytes,
      blocksInObject: slice.objectBlocks,
      indexInObject: slice.indexInObject,
      firstBlock: slice.firstBlock,
      codec: shape.codec,
      sectionBytes: sectionBounds(shape, shape.codec, stored),
      contradiction: (header) => contradictsSlice(slice, header),
      physicalBlocks,
      lastTokens: BLOCK_TOKENS,
      claim,
      onBytes,
      signal,
    });
  }

  async restoreRun(request: RestoreRunRequest): Promise<RestoredRun> {
    const { tenant, slices, physicalBlocks, onProgress, signal } = request;
    if (slices.reduce((sum, slice) => sum + slice.hashes.length, 0) !== physicalBlocks.length)
      throw new RangeError('restoreRun needs a physical block for each wanted block');
    const startedAt = this.options.now();
    const result: RestoredRun = { blocks: 0, bytes: 0, ms: 0 };
    const giveUps = slices.map(() => new AbortController());
    const blocksDone = slices.map(() => 0);
    let front = 0;
    let failedAt = slices.length;

    const restoreSlice = async (slice: ObjectSlice, index: number, blocks: Uint32Array) => {
      const giveUp = giveUps[index]!.signal;
      const outcome = await this.restore({
        tenant,
        slice,
        physicalBlocks: blocks,
        signal: signal ? AbortSignal.any([signal, giveUp]) : giveUp,
      });
      if (!outcome.ok) {
        if (index >= failedAt) return;
        failedAt = index;
        result.fault = outcome.fault;
        for (const behind of giveUps.slice(index + 1)) behind.abort();
        return;
      }
      result.bytes += outcome.value.bytes;
      result.tier = farthestTier(result.tier, outcome.value.tier);
      blocksDone[index] = outcome.value.blocks;
      if (index !== front) return;
      while (front < slices.length && blocksDone[front]! > 0) result.blocks += blocksDone[front++]!;
      onProgress?.(result.blocks);
    };

    let at = 0;
    const reads = slices.map((slice, index) => {
      const blocks = physicalBlocks.subarray(at, at + slice.hashes.length);
      at += slice.hashes.length;
      return restoreSlice(slice, index, blocks);
    });
    await Promise.all(reads);
    result.ms = this.options.now() - startedAt;
    return result;
  }

  async getTail(request: GetTailRequest): Promise<Outcome<Restored>> {
    const { tenant, objectKey, firstToken, tokenCount } = request;
    const { directory, shape, namespace } = this.options;
    try {
      const found = await directory.findObject(tenant.organizationId, objectKey);
      if (!found) return this.fault({ kind: 'missing', message: `tail ${objectKey} is not in the directory` });
      const blocks = { firstBlock: firstToken / BLOCK_TOKENS, count: 1, lastTokens: tokenCount };
      return await this.read({
        tenant,
        key: objectKey,
        storedBytes: found.storedBytes,
        blocksInObject: 1,
        indexInObject: 0,
        firstBlock: firstToken / BLOCK_TOKENS,
        codec: 'raw',
        sectionBytes: sectionBounds(shape, 'raw', blocks),
        contradiction: (header) => contradictsTail(request, header, namespace),
        physicalBlocks: Uint32Array.of(request.physicalBlock),
        lastTokens: tokenCount,
        claim: request.claim,
        signal: request.signal,
      });
    } catch (error) {
      return this.fault(faultOf(error));
    }
  }

  private async read(reading: Reading): Promise<Outcome<Restored>> {
    let release: (() => void) | undefined;
    try {
      const turn = this.slots.acquire(reading.signal);
      if (!turn) return this.fault(failed('overloaded', 'too many restores wait').fault);
      release = await turn;
      const startedAt = this.options.now();
      const { blocks, tier } = await this.readNearestGood(reading);
      const ms = this.options.now() - startedAt;
      const { stats } = this.options;
      stats.restoredBlocks += blocks;
      stats.restoredBytes += reading.storedBytes;
      stats.restoreMs += ms;
      return done({ blocks, tier, bytes: reading.storedBytes, ms });
    } catch (error) {
      const fault = faultOf(error);
      if (fault.kind === 'quarantined' || fault.kind === 'missing') await this.quarantine(reading, fault.message);
      return this.fault(fault);
    } finally {
      release?.();
    }
  }

  /** A bad copy in a near tier is deleted and the object read again from afar: only the farthest copy speaks for the object. */
  private async readNearestGood(reading: Reading): Promise<Imported> {
    const once: Reading = { ...reading, claim: reading.claim && askedOnce(reading.claim) };
    try {
      return await this.readAndImport(once);
    } catch (error) {
      const fault = faultOf(error);
      if (fault.kind !== 'quarantined' || !(await this.options.objects.discard(reading.key))) throw error;
      this.options.onFault(fault);
      return this.readAndImport(once);
    }
  }

  private async readAndImport(reading: Reading): Promise<Imported> {
    const { namespace, shape, buffers } = this.options;
    // Also what bounds the allocation, whatever the directory says.
    const { least, most } = reading.sectionBytes;
    const sealed = (sectionBytes: number) => sealedObjectBytes(reading.blocksInObject, shape.layers, sectionBytes);
    if (reading.storedBytes < sealed(least) || reading.storedBytes > sealed(most))
      throw new Mismatch('Stored KV object refused: its size in the directory is not that of its blocks.');
    const bytes = buffers.take(reading.storedBytes);
    const readerFor = (tenant: TenantKeys) =>
      new SealedObjectReader(bytes, { ...reading, namespace, shape, keys: tenant.byId });
    const { reader, tier } = await this.fill(bytes, reading, readerFor);
    const endBlock = reading.firstBlock + reading.physicalBlocks.length;
    const from = reading.claim === undefined ? reading.firstBlock : reading.claim(reading.firstBlock, endBlock);
    if (from !== undefined) {
      // The engine opens the object in place: what a tier keeps must be the sealed bytes.
      const sealedBytes = this.options.objects.wants(reading.key, bytes.length, tier) ? Buffer.from(bytes) : undefined;
      await this.import(reading, from - reading.firstBlock, reader);
      if (sealedBytes !== undefined) this.options.objects.offer(reading.key, sealedBytes, tier);
    }
    // Only now: a read that failed may still be filling the buffer.
    buffers.give(bytes);
    return { blocks: from === undefined ? 0 : endBlock - from, tier };
  }

  /** Reads the whole object; its header is verified on the way. A key that this worker does not know yet is asked for once. */
  private async fill(
    bytes: Buffer,
    reading: Reading,
    readerFor: (tenant: TenantKeys) => SealedObjectReader,
  ): Promise<{ reader: SealedObjectReader; tier: StoreTier }> {
    let reader = readerFor(reading.tenant);
    let heard = 0;
    let unknownKey: UnknownKey | undefined;
    const advance = (filled: number) => {
      reading.onBytes?.(filled - heard);
      heard = filled;
      if (unknownKey !== undefined) return;
      try {
        reader.advance(filled);
      } catch (error) {
        if (!(error instanceof UnknownKey)) throw error;
        unknownKey = error;
      }
    };
    const tier = await this.options.objects.readFrom(reading.key, bytes, {
      signal: reading.signal,
      onProgress: advance,
    });
    if (unknownKey !== undefined) {
      const fresh = await this.options.tenants.get(reading.tenant.organizationId, true);
      if (!fresh.ok) throw unknownKey;
      reader = readerFor(fresh.value);
      reader.advance(bytes.length);
    }
    return { reader, tier };
  }

  /** Writes all wanted blocks but the first `leave` into the engine. */
  private async import(reading: Reading, leave: number, reader: SealedObjectReader): Promise<void> {
    const { engine, shape, stats } = this.options;
    const { codec, lastTokens } = reading;
    const physicalBlocks = reading.physicalBlocks.subarray(leave);
    const firstToken = (reading.firstBlock + leave) * BLOCK_TOKENS;
    const skip = reading.indexInObject + leave;
    try {
      if (engine.importSealed !== undefined && !this.withoutNativeSeal) {
        const took = await engine.importSealed(physicalBlocks, codec, reader.sealed(), firstToken, skip, lastTokens);
        stats.sealMs += took.openMs;
        stats.importMs += took.writeMs;
        return;
      }
    } catch (cause) {
      if (!(cause instanceof EngineError) || cause.code !== 'unsupported') throw mismatchOf(cause);
      this.withoutNativeSeal = true;
    }
    const stored: SectionBlocks = {
      firstBlock: reading.firstBlock - reading.indexInObject,
      count: reading.blocksInObject,
      lastTokens,
    };
    const sections = reader.openSections().map((section) => {
      const ranges = blockRanges(section, shape, codec, stored);
      if (!ranges) throw new Mismatch('Stored KV object refused: a section is not its blocks.');
      return section.subarray(ranges[skip]!.start, ranges[skip + physicalBlocks.length - 1]!.end);
    });
    await engine.importBlocks(physicalBlocks, codec, sections, firstToken, lastTokens).catch((cause: unknown) => {
      throw mismatchOf(cause);
    });
  }

  private async quarantine(reading: Reading, reason: string): Promise<void> {
    const { directory, stats, objects } = this.options;
    try {
      await objects.discard(reading.key);
      if (await directory.quarantine(reading.tenant.organizationId, reading.key, reason)) stats.quarantinedObjects++;
    } catch (error) {
      this.options.onFault(faultOf(error));
    }
  }

  private fault(fault: StoreFault): { ok: false; fault: StoreFault } {
    this.options.onFault(fault);
    return { ok: false, fault };
  }
}

/** What the engine calls corrupt is the object's fault. */
function mismatchOf(cause: unknown): unknown {
  return cause instanceof EngineError && cause.code === 'corrupt' ? new Mismatch(cause.message, { cause }) : cause;
}

type Claim = NonNullable<RestoreRequest['claim']>;

/** Reading again must not ask again: the first answer holds. */
function askedOnce(claim: Claim): Claim {
  let answer: { from: number | undefined } | undefined;
  return (first, end) => {
    answer ??= { from: claim(first, end) };
    return answer.from;
  };
}

function contradictsTail(request: GetTailRequest, header: ObjectHeader, namespace: Uint8Array): string | undefined {
  if (!equalBytes(header.namespace, namespace)) return 'namespace differs';
  if (!header.partial || header.tokenCount !== request.tokenCount) return 'token count differs';
  if (header.firstToken !== request.firstToken) return 'first token differs';
  if (!equalBytes(header.parentHash, request.parentHash)) return 'parent hash differs';
  if (header.blockHashes.length !== 1 || !equalBytes(header.blockHashes[0]!, request.hash)) return 'hash differs';
  return undefined;
}
