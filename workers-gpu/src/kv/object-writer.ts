import { formatId, toHex } from '@longshore/core';
import type { NewKvBlock, Reservation } from '@longshore/db';
import type { BufferPool } from './buffer-pool.ts';
import type { KvShape } from './kv-store.ts';
import { type BlockDirectory, StoreError } from './ports.ts';
import type { KvStoreStats } from './stats.ts';
import { type ObjectContent, sealObject } from './stored-object.ts';
import type { TenantKeys } from './tenant-keys.ts';
import type { TieredObjects } from './tiers/tiered-objects.ts';

export interface WriteRequest {
  tenant: TenantKeys;
  content: Omit<ObjectContent, 'namespace' | 'shape'>;
  /** Empty for a session's tail. */
  blocks: readonly NewKvBlock[];
  rawBytes: number;
  ttlSeconds: number;
  sessionId?: string;
}

/** An object whose bytes are stored, and that nobody can find yet. */
export interface PutObject {
  key: string;
  storedBytes: number;
}

export interface Written extends PutObject {
  /** Block hashes that this object now stands for; fewer than given when another worker was first. */
  taken: number;
}

/** First part of every object's key: what the sweeper lists. */
export const KEY_PREFIX = 'kv/';

/**
 * The publish order (docs/ARCHITECTURE.md, invariant 5): reserve -> PUT -> verify (put), then ready (commit). Whatever stops it in
 * between leaves a reservation and at most an object under its key, both of which the sweeper finds. Keys are random and never reused.
 */
export class ObjectWriter {
  private readonly objects: TieredObjects;
  private readonly directory: BlockDirectory;
  private readonly buffers: BufferPool;
  private readonly namespace: Uint8Array;
  private readonly shape: KvShape;
  private readonly workerId: string;
  private readonly stats: KvStoreStats;
  private readonly random: (size: number) => Uint8Array;

  constructor(
    objects: TieredObjects,
    directory: BlockDirectory,
    buffers: BufferPool,
    identity: {
      namespace: Uint8Array;
      shape: KvShape;
      workerId: string;
      stats: KvStoreStats;
      random: (size: number) => Uint8Array;
    },
  ) {
    this.buffers = buffers;
    this.objects = objects;
    this.directory = directory;
    this.namespace = identity.namespace;
    this.shape = identity.shape;
    this.workerId = identity.workerId;
    this.stats = identity.stats;
    this.random = identity.random;
  }

  /** Rejects with StoreError. */
  async write(request: WriteRequest): Promise<Written> {
    return this.commit(await this.put(request), request.blocks);
  }

  /** Rejects with StoreError: over_quota where the organization's quota leaves no room. */
  async put(request: WriteRequest): Promise<PutObject> {
    const { tenant, content } = request;
    const { organizationId } = tenant;
    const key = `${KEY_PREFIX}${organizationId}/${toHex(this.namespace.subarray(0, 8))}/${formatId('object', this.random(16))}`;
    const sealed = sealObject(
      { ...content, namespace: this.namespace, shape: this.shape },
      tenant.current,
      this.random(12),
      (size) => this.buffers.take(size),
    );
    const storedBytes = sealed.bytes.length;
    const reservation = await this.directory.reserve({
      key,
      organizationId,
      namespace: this.namespace,
      firstToken: content.firstToken,
      tokenCount: content.tokenCount,
      ...(request.blocks[0] && content.firstToken > 0 ? { parentHash: content.parentHash } : {}),
      storedBytes,
      rawBytes: request.rawBytes,
      codec: content.codec,
      workerId: this.workerId,
      sessionId: request.sessionId,
      ttlSeconds: request.ttlSeconds,
    });
    if (!reservation.reserved) {
      this.buffers.give(sealed.bytes);
      throw new StoreError('over_quota', refusalOf(reservation, storedBytes));
    }
    this.stats.evictedObjects += reservation.evictedObjects;
    this.stats.evictedBytes += reservation.evictedBytes;
    try {
      await this.objects.put(key, sealed.bytes, sealed.crc32);
      await this.verify(key, sealed.bytes, sealed.headerBytes);
    } catch (error) {
      await this.directory.retire([key], 'abandoned').catch(() => {});
      throw error;
    }
    this.objects.published(key, sealed.bytes);
    // Only now: a put that failed may still be sending from the buffer.
    this.buffers.give(sealed.bytes);
    return { key, storedBytes };
  }

  /** Rejects with StoreError: orphaned where the chain before the object is not stored. */
  async commit(put: PutObject, blocks: readonly NewKvBlock[]): Promise<Written> {
    const ready = await this.directory.markReady(put.key, blocks);
    if (!ready) throw new StoreError('timeout', 'publishing took so long that the sweeper gave the reservation up');
    if (ready.orphaned)
      throw new StoreError('orphaned', 'the chain before the published blocks is not stored any more');
    return { ...put, taken: ready.taken };
  }

  /** Size and header as the store now holds them. Sections are verified by every reader, so they are not read back. */
  private async verify(key: string, bytes: Uint8Array, headerBytes: number): Promise<void> {
    const info = await this.objects.head(key);
    if (info?.size !== bytes.length)
      throw new StoreError(
        'unavailable',
        `the object store holds ${info?.size ?? 0} of ${bytes.length} bytes just put`,
      );
    const header = Buffer.allocUnsafe(headerBytes);
    await this.objects.readStored(key, header);
    if (!header.equals(bytes.subarray(0, headerBytes)))
      throw new StoreError('unavailable', 'the object store returned another header than was just put');
  }
}

function refusalOf(refusal: Exclude<Reservation, { reserved: true }>, storedBytes: number): string {
  if (refusal.reason === 'organization_gone') return 'the organization was deleted';
  const { heldBytes, quotaBytes } = refusal;
  return `${storedBytes} bytes do not fit: ${heldBytes} of the organization's ${quotaBytes} bytes are held, and no more of them can go`;
}
