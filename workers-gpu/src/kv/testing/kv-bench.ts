import { randomBytes } from 'node:crypto';
import { type CacheIdentity, chainHashes, namespaceOf } from '@longshore/core';
import { bootstrapOrganization, createDatabase, type DatabaseClient, schema } from '@longshore/db';
import { createTestDatabase, type TestDatabase } from '@longshore/db/testing';
import { createMemoryObjectStore } from '../adapters/memory-object-store.ts';
import { createPostgresDirectory, createPostgresKeyRing } from '../adapters/postgres-directory.ts';
import { createKvStore, type KvStoreOptions } from '../create-kv-store.ts';
import type { KvShape, KvStore } from '../kv-store.ts';
import type { TenantKeys } from '../tenant-keys.ts';
import { createFakeEngine, type FakeEngine } from './fake-engine.ts';

/** A real database, a memory object store, and as many workers (KvStore + fake engine) over both as a test asks for. */
export const SHAPE: KvShape = { layers: 3, kvHeads: 2, headDim: 16, kvDtype: 'bf16', codec: 'int8' };
export const MASTER_KEY = new Uint8Array(32).fill(3);

export const IDENTITY: CacheIdentity = {
  weights: 'sha256:00',
  tokenizer: 'sha256:11',
  config: { family: 'fake' },
  kvDtype: 'bf16',
  codec: 'int8',
  codecParameter: 0,
  policy: { prefill: 'dense' },
  numerics: 'fake-1',
};

export interface Worker {
  store: KvStore;
  engine: FakeEngine;
}

export interface KvBench {
  client: DatabaseClient;
  database: TestDatabase;
  objects: ReturnType<typeof createMemoryObjectStore>;
  worker(name: string, options?: Partial<KvStoreOptions>): Worker;
  /** A new organization with keys. */
  organization(): Promise<string>;
  objectRows(): Promise<(typeof schema.kvObjects.$inferSelect)[]>;
  blockRows(): Promise<(typeof schema.kvBlocks.$inferSelect)[]>;
  close(): Promise<void>;
}

export async function openKvBench(): Promise<KvBench> {
  const database = await createTestDatabase();
  const client = createDatabase(database.url);
  const objects = createMemoryObjectStore();
  const stores: KvStore[] = [];
  let organizations = 0;
  return {
    client,
    database,
    objects,
    worker(name, options = {}) {
      const engine = createFakeEngine(options.shape ?? SHAPE);
      const store = createKvStore({
        engine,
        objects,
        directory: createPostgresDirectory(client.db),
        keyRing: createPostgresKeyRing(client.db, MASTER_KEY),
        namespace: namespaceOf(IDENTITY),
        shape: SHAPE,
        workerId: name,
        epoch: randomBytes(4).toString('hex'),
        ttlSeconds: 3600,
        sweepIntervalMs: 0,
        warmUp: false,
        sweepAges: { abandoned: 0, grace: 0, orphan: 0 },
        ...options,
      });
      stores.push(store);
      return { store, engine };
    },
    async organization() {
      const made = await bootstrapOrganization(client.db, {
        organization: 'Test',
        ownerEmail: `${organizations++}@example.com`,
        masterKey: MASTER_KEY,
      });
      return made.organizationId;
    },
    objectRows: () => client.db.select().from(schema.kvObjects),
    blockRows: () => client.db.select().from(schema.kvBlocks),
    async close() {
      for (const store of stores) await store.close();
      await client.close();
      await database.close();
    },
  };
}

export async function tenantOf(store: KvStore, organizationId: string): Promise<TenantKeys> {
  const outcome = await store.tenant(organizationId);
  if (!outcome.ok) throw new Error(outcome.fault.message);
  return outcome.value;
}

export interface Chain {
  tokens: number[];
  hashes: Uint8Array[];
}

/** `seed` decides the tokens; chains with the same seed share their prefix. */
export function chainOf(tenant: TenantKeys, blocks: number, seed = 1): Chain {
  const tokens = Array.from({ length: blocks * 128 }, (_, index) => (Math.imul(index + 1, 2654435761) >>> 8) ^ seed);
  return { tokens, hashes: chainHashes(tenant.root, tokens) };
}

/** Physical blocks `first`…, filled with content 1000 + their index in the chain. */
export function fillChain(engine: FakeEngine, blocks: number, first = 0): Uint32Array {
  return Uint32Array.from({ length: blocks }, (_, index) => {
    engine.fill(first + index, 1000 + index);
    return first + index;
  });
}
