import { BLOCK_TOKENS, type Codec, equalBytes, type ObjectHeader } from '@longshore/core';
import { EngineError } from '@longshore/native';
import type { BufferPool } from './buffer-pool.ts';
import { blocksInSection, encodedBlockBytes, type SectionRange } from './domain/section-layout.ts';
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
} from './kv-store.ts';
import { done, failed, type Outcome, type StoreFault } from './outcome.ts';
import type { BlockDirectory, ObjectStore } from './ports.ts';
import { Slots } from './slots.ts';
import type { KvStoreStats } from './stats.ts';
import { SealedObjectReader, sealedObjectBytes } from './stored-object.ts';
import type { TenantCache } from './tenant-cache.ts';
import type { TenantKeys } from './tenant-keys.ts';

/** Objects read at a time, and how many more may wait: bounds the memory to about 2 objects' bytes for each. */
const CONCURRENT_READS = 4;
const MAX_WAITING_READS = 4096;

export interface RestorerOptions {
  engine: KvEngine;
  objects: ObjectStore;
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
interface Reading {
  tenant: TenantKeys;
  key: string;
  storedBytes: number;
  blocksInObject: number;
  codec: Codec;
  sectionBytes: number;
  wanted: SectionRange;
  contradiction: (header: ObjectHeader) => string | undefined;
  physicalBlocks: Uint32Array;
  firstToken: number;
  /** Of the last block. */
  lastTokens: number;
  signal: AbortSignal | undefined;
}

/** Reads, verifies and imports stored objects. An object that contradicts itself or its chain is quarantined, never imported. */
export class Restorer {
  private readonly options: RestorerOptions;
  private readonly slots = new Slots(CONCURRENT_READS, MAX_WAITING_READS);

  constructor(options: RestorerOptions) {
    this.options = options;
  }

  restore(request: RestoreRequest): Promise<Outcome<Restored>> {
    const { tenant, slice, physicalBlocks, signal } = request;
    if (physicalBlocks.length !== slice.hashes.length)
      throw new RangeError('restore needs a physical block for each wanted block');
    const { shape } = this.options;
    const objectFirstBlock = slice.firstBlock - slice.indexInObject;
    const range = (first: number, count: number) => blocksInSection(shape, shape.codec, objectFirstBlock, first, count);
    return this.read({
      tenant,
      key: slice.key,
      storedBytes: slice.storedBytes,
      blocksInObject: slice.objectBlocks,
      codec: shape.codec,
      sectionBytes: range(0, slice.objectBlocks).end,
      wanted: range(slice.indexInObject, slice.hashes.length),
      contradiction: (header) => contradictsSlice(slice, header),
      physicalBlocks,
      firstToken: slice.firstBlock * BLOCK_TOKENS,
      lastTokens: BLOCK_TOKENS,
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
      const sectionBytes = encodedBlockBytes(shape, 'raw', firstToken / BLOCK_TOKENS, tokenCount);
      return await this.read({
        tenant,
        key: objectKey,
        storedBytes: found.storedBytes,
        blocksInObject: 1,
        codec: 'raw',
        sectionBytes,
        wanted: { start: 0, end: sectionBytes },
        contradiction: (header) => contradictsTail(request, header, namespace),
        physicalBlocks: Uint32Array.of(request.physicalBlock),
        firstToken,
        lastTokens: tokenCount,
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
      await this.readAndImport(reading);
      const ms = this.options.now() - startedAt;
      const { stats } = this.options;
      stats.restoredBlocks += reading.physicalBlocks.length;
      stats.restoredBytes += reading.storedBytes;
      stats.restoreMs += ms;
      return done({ blocks: reading.physicalBlocks.length, bytes: reading.storedBytes, ms });
    } catch (error) {
      const fault = faultOf(error);
      if (fault.kind === 'quarantined' || fault.kind === 'missing') await this.quarantine(reading, fault.message);
      return this.fault(fault);
    } finally {
      release?.();
    }
  }

  private async readAndImport(reading: Reading): Promise<void> {
    let layers: Uint8Array[];
    try {
      layers = await this.open(reading, reading.tenant);
    } catch (error) {
      if (!(error instanceof UnknownKey)) throw error;
      const fresh = await this.options.tenants.get(reading.tenant.organizationId, true);
      if (!fresh.ok) throw error;
      layers = await this.open(reading, fresh.value);
    }
    const { physicalBlocks, codec, firstToken, lastTokens } = reading;
    try {
      await this.options.engine.importBlocks(physicalBlocks, codec, layers, firstToken, lastTokens);
    } catch (cause) {
      if (cause instanceof EngineError && cause.code === 'corrupt') throw new Mismatch(cause.message, { cause });
      throw cause;
    }
  }

  private async open(reading: Reading, tenant: TenantKeys): Promise<Uint8Array[]> {
    const { namespace, shape, buffers } = this.options;
    // Also what bounds the allocation, whatever the directory says.
    if (reading.storedBytes !== sealedObjectBytes(reading.blocksInObject, shape.layers, reading.sectionBytes))
      throw new Mismatch('Stored KV object refused: its size in the directory is not that of its blocks.');
    const bytes = buffers.take(reading.storedBytes);
    const reader = new SealedObjectReader(bytes, { ...reading, namespace, shape, keys: tenant.byId });
    const onProgress = (filled: number) => reader.advance(filled);
    await this.options.objects.readInto(reading.key, bytes, { signal: reading.signal, onProgress });
    if (!reader.complete) throw new Mismatch('Stored KV object refused: it is incomplete.');
    // Only now: a read that failed may still be filling the buffer.
    buffers.give(bytes);
    return reader.layers;
  }

  private async quarantine(reading: Reading, reason: string): Promise<void> {
    const { directory, stats } = this.options;
    try {
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

function contradictsTail(request: GetTailRequest, header: ObjectHeader, namespace: Uint8Array): string | undefined {
  if (!equalBytes(header.namespace, namespace)) return 'namespace differs';
  if (!header.partial || header.tokenCount !== request.tokenCount) return 'token count differs';
  if (header.firstToken !== request.firstToken) return 'first token differs';
  if (!equalBytes(header.parentHash, request.parentHash)) return 'parent hash differs';
  if (header.blockHashes.length !== 1 || !equalBytes(header.blockHashes[0]!, request.hash)) return 'hash differs';
  return undefined;
}
