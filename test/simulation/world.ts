import { type CacheIdentity, namespaceOf } from '@longshore/core';
import type { OpenedDataKey } from '@longshore/db';
import { seededRandom } from '../../workers-gpu/src/domain/seeded-random.ts';
import { createMemoryDirectory } from '../../workers-gpu/src/kv/adapters/memory-directory.ts';
import { createMemoryObjectStore } from '../../workers-gpu/src/kv/adapters/memory-object-store.ts';
import { createKvStore } from '../../workers-gpu/src/kv/create-kv-store.ts';
import type { KvShape, KvStore } from '../../workers-gpu/src/kv/index.ts';
import type { Tier } from '../../workers-gpu/src/kv/ports.ts';
import { createFakeEngine, type FakeEngine } from '../../workers-gpu/src/kv/testing/fake-engine.ts';
import { type FaultPlan, faultPlan, faulty } from '../../workers-gpu/src/kv/testing/faulty.ts';
import { createHostTier } from '../../workers-gpu/src/kv/tiers/host-tier.ts';

/** 2 KiB a block, so that a day of an organization fits in memory; everything else is as large as it is. */
export const SHAPE: KvShape = { layers: 1, kvHeads: 1, headDim: 4, kvDtype: 'bf16', codec: 'raw' };
const IDENTITY: CacheIdentity = {
  weights: 'sha256:00',
  tokenizer: 'sha256:11',
  config: { family: 'simulated' },
  kvDtype: 'bf16',
  codec: 'raw',
  codecParameter: 0,
  policy: { prefill: 'dense' },
  numerics: 'simulated-1',
};
/** Seconds a block lives after its last use, unless its request says otherwise. */
const TTL_SECONDS = 3600;

export interface SimulatedWorker {
  name: string;
  store: KvStore;
  engine: FakeEngine;
  /** Its calls to the object store and the directory; setting failAt kills it there. */
  plan: FaultPlan;
  /** In its memory. */
  tier: Tier;
}

export interface WorldOptions {
  seed: number;
  organizations: number;
  workers: number;
  quotaBytes: number;
  /** Of each worker's host tier. */
  tierBytes: number;
}

/** Real publishers, restorers and sweepers over a directory and a bucket in memory, all under one clock that stands still by itself. */
export class World {
  /** Milliseconds since 1970. */
  now = Date.UTC(2026, 0, 1);
  readonly draw: (below: number) => number;
  readonly directory;
  readonly objects = createMemoryObjectStore(() => new Date(this.now));
  readonly organizations: string[];
  readonly workers: SimulatedWorker[] = [];
  readonly quotaBytes: number;
  private readonly tierBytes: number;
  private readonly keys = new Map<string, OpenedDataKey>();
  private started = 0;

  constructor(options: WorldOptions) {
    this.draw = seededRandom(options.seed);
    this.quotaBytes = options.quotaBytes;
    this.tierBytes = options.tierBytes;
    this.directory = createMemoryDirectory({ now: () => this.now, defaultQuotaBytes: options.quotaBytes });
    this.organizations = Array.from({ length: options.organizations }, (_, index) => `org_${index}`);
    for (const organizationId of this.organizations)
      this.keys.set(organizationId, {
        id: this.random(16),
        dataKey: this.random(32),
        chainSecret: this.random(32),
        retired: false,
      });
    for (let index = 0; index < options.workers; index++) this.startWorker(index);
  }

  random(size: number): Uint8Array<ArrayBuffer> {
    return Uint8Array.from({ length: size }, () => this.draw(256));
  }

  /** In the place of the one that was there, as a supervisor would. */
  startWorker(index: number): SimulatedWorker {
    const name = `worker-${index}.${this.started++}`;
    const engine = createFakeEngine(SHAPE);
    const plan = faultPlan(undefined, 'dead');
    const tier = createHostTier({ budgetBytes: this.tierBytes, ttlMs: 1000 * TTL_SECONDS, now: () => this.now });
    const store = createKvStore({
      tiers: [tier],
      engine,
      objects: faulty(this.objects, plan),
      directory: faulty(this.directory, plan),
      keyRing: { load: async (organizationId) => [this.keys.get(organizationId) ?? []].flat() },
      namespace: namespaceOf(IDENTITY),
      shape: SHAPE,
      workerId: name,
      epoch: name,
      ttlSeconds: TTL_SECONDS,
      sweepIntervalMs: 0,
      warmUp: false,
      clock: { now: () => this.now, date: () => this.now },
      random: (size) => this.random(size),
    });
    const worker = { name, store, engine, plan, tier };
    this.workers[index] = worker;
    return worker;
  }

  /** Keys first: nothing of it can be opened any more, whatever is still stored. */
  deleteOrganization(organizationId: string): void {
    this.keys.delete(organizationId);
    this.directory.deleteOrganization(organizationId);
  }
}
