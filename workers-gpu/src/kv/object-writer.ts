import { randomBytes } from 'node:crypto';
import { formatId, toHex } from '@longshore/core';
import type { NewKvBlock } from '@longshore/db';
import type { BufferPool } from './buffer-pool.ts';
import type { KvShape } from './kv-store.ts';
import { type BlockDirectory, type ObjectStore, StoreError } from './ports.ts';
import { type ObjectContent, sealObject } from './stored-object.ts';
import type { TenantKeys } from './tenant-keys.ts';

export interface WriteRequest {
  tenant: TenantKeys;
  content: Omit<ObjectContent, 'namespace' | 'shape'>;
  /** Empty for a session's tail. */
  blocks: readonly NewKvBlock[];
  rawBytes: number;
  ttlSeconds: number;
  sessionId?: string;
}

export interface Written {
  key: string;
  storedBytes: number;
  /** Block hashes that this object now stands for; fewer than given when another worker was first. */
  taken: number;
}

/** First part of every object's key: what the sweeper lists. */
export const KEY_PREFIX = 'kv/';

/**
 * The publish order (docs/ARCHITECTURE.md, invariant 5): reserve -> PUT -> verify -> ready. Whatever stops it in between leaves a
 * reservation and at most an object under its key, both of which the sweeper finds. Keys are random and never reused.
 */
export class ObjectWriter {
  private readonly objects: ObjectStore;
  private readonly directory: BlockDirectory;
  private readonly buffers: BufferPool;
  private readonly namespace: Uint8Array;
  private readonly shape: KvShape;
  private readonly workerId: string;

  constructor(
    objects: ObjectStore,
    directory: BlockDirectory,
    buffers: BufferPool,
    identity: { namespace: Uint8Array; shape: KvShape; workerId: string },
  ) {
    this.buffers = buffers;
    this.objects = objects;
    this.directory = directory;
    this.namespace = identity.namespace;
    this.shape = identity.shape;
    this.workerId = identity.workerId;
  }

  /** Rejects with StoreError. */
  async write(request: WriteRequest): Promise<Written> {
    const { tenant, content } = request;
    const { organizationId } = tenant;
    const key = `${KEY_PREFIX}${organizationId}/${toHex(this.namespace.subarray(0, 8))}/${formatId('object', randomBytes(16))}`;
    const sealed = sealObject(
      { ...content, namespace: this.namespace, shape: this.shape },
      tenant.current,
      randomBytes(12),
      (size) => this.buffers.take(size),
    );
    const storedBytes = sealed.bytes.length;
    await this.directory.reserve({
      key,
      organizationId,
      namespace: this.namespace,
      firstToken: content.firstToken,
      tokenCount: content.tokenCount,
      storedBytes,
      rawBytes: request.rawBytes,
      codec: content.codec,
      workerId: this.workerId,
      sessionId: request.sessionId,
      ttlSeconds: request.ttlSeconds,
    });
    try {
      await this.objects.put(key, sealed.bytes, sealed.crc32);
      await this.verify(key, sealed.bytes, sealed.headerBytes);
    } catch (error) {
      await this.directory.retire([key], 'abandoned').catch(() => {});
      throw error;
    }
    // Only now: a put that failed may still be sending from the buffer.
    this.buffers.give(sealed.bytes);
    const ready = await this.directory.markReady(key, request.blocks);
    if (!ready) throw new StoreError('timeout', 'publishing took so long that the sweeper gave the reservation up');
    return { key, storedBytes, taken: ready.taken };
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
    await this.objects.readInto(key, header);
    if (!header.equals(bytes.subarray(0, headerBytes)))
      throw new StoreError('unavailable', 'the object store returned another header than was just put');
  }
}
