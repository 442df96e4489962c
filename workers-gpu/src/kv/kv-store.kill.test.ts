import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chainHashes, namespaceOf } from '@longshore/core';
import type { Engine } from '@longshore/native';
import { openTiny } from '../../../native/tiny-model.ts';
import { createDiskObjectStore } from './adapters/disk-object-store.ts';
import { openDiskTier } from './adapters/disk-tier.ts';
import type { KvStore } from './kv-store.ts';
import type { Outcome } from './outcome.ts';
import type { ObjectStore, Tier } from './ports.ts';
import { type KillOrder, PHYSICAL_BLOCKS, TOKENS } from './testing/kill-order.ts';
import { IDENTITY, type KvBench, openKvBench, tenantOf } from './testing/kv-bench.ts';

/** Real processes that die by SIGKILL at every step of a publish and of a delete; one sweep of another worker cleans up after them. */

const PROGRAM = fileURLToPath(new URL('testing/killed-worker.ts', import.meta.url));
/** Never so many calls; keeps a test that does not end from running for ever. */
const MOST_CALLS = 60;

let bench: KvBench;
let engine: Engine;
let folder: string;
let objects: ObjectStore;
/** What the chain's blocks hold, by an engine that never saw the store. */
let expected: Uint8Array[];
before(async () => {
  [bench, engine] = await Promise.all([openKvBench(), openTiny()]);
  folder = await mkdtemp(join(tmpdir(), 'longshore-kill-'));
  objects = createDiskObjectStore(join(folder, 'objects'));
  expected = await plainBlocks();
});
after(async () => {
  await engine?.close();
  await bench?.close();
  await rm(folder, { recursive: true, force: true });
});

function unwrap<T>(outcome: Outcome<T>): T {
  assert.ok(outcome.ok, outcome.ok ? '' : outcome.fault.message);
  return outcome.value;
}

async function plainBlocks(): Promise<Uint8Array[]> {
  await engine.step([{ tokens: TOKENS, position: 0, blockTable: PHYSICAL_BLOCKS }]);
  return exported();
}

async function exported(): Promise<Uint8Array[]> {
  const { layers } = await engine.exportBlocks(PHYSICAL_BLOCKS, 'raw', 0);
  return layers.map((layer) => Uint8Array.from(layer));
}

/** The signal that ended it, null when it came to its end. */
async function runMortal(order: KillOrder): Promise<NodeJS.Signals | null> {
  const child = spawn(process.execPath, [PROGRAM, JSON.stringify(order)], { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += String(chunk);
  });
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) => {
    child.once('close', (...ended) => resolve(ended));
  });
  assert.ok(signal === 'SIGKILL' || code === 0, errors);
  return signal;
}

function healthyStore(tiers: Tier[]): KvStore {
  const { layers, kvHeads, headDim, kvDtype, weightsDigest } = engine.info;
  return bench.worker('healthy', {
    engine,
    objects,
    tiers,
    namespace: namespaceOf({ ...IDENTITY, codec: 'lossless', weights: weightsDigest }),
    shape: { layers, kvHeads, headDim, kvDtype, codec: 'lossless' },
  }).store;
}

const openTier = (tierFolder: string) =>
  openDiskTier({
    folder: tierFolder,
    budgetBytes: 64 * 1024 ** 2,
    ttlMs: 3_600_000,
    now: () => performance.now(),
    wallClock: () => Date.now(),
  });

async function assertClean(organizationId: string, tier: Tier, what: string): Promise<number> {
  const rows = (await bench.objectRows()).filter((row) => row.organizationId === organizationId);
  assert.ok(
    rows.every((row) => row.state === 'ready'),
    `${what}: only ready objects are left`,
  );
  const stored = await objects.list(`kv/${organizationId}/`, undefined, 100);
  const bySize = (all: { key: string; size: number }[]) => all.map(({ key, size }) => `${key} ${size}`).sort();
  const promised = rows.map(({ key, storedBytes }) => ({ key, size: storedBytes }));
  assert.deepEqual(bySize(stored), bySize(promised), `${what}: bucket and directory agree`);
  const known = new Set(rows.map((row) => row.key));
  assert.deepEqual(
    tier.keys(undefined, 100).filter((key) => !known.has(key)),
    [],
    `${what}: no near copy of what is gone`,
  );
  tier.checkIntegrity();
  return rows.length;
}

/** Restores what is found and compares every byte with what an engine computes; how many blocks. */
async function restoreAndCompare(store: KvStore, organizationId: string, what: string): Promise<number> {
  const tenant = await tenantOf(store, organizationId);
  const hit = unwrap(await store.lookup({ tenant, hashes: chainHashes(tenant.root, TOKENS) }));
  assert.ok(hit.blockCount === 0 || hit.blockCount === 3, `${what}: all or nothing`);
  if (hit.blockCount === 0) return 0;
  const zeros = Uint32Array.from(TOKENS, () => 1);
  await engine.step([{ tokens: zeros, position: 0, blockTable: PHYSICAL_BLOCKS }]);
  const run = await store.restoreRun({ tenant, slices: hit.slices, physicalBlocks: PHYSICAL_BLOCKS });
  assert.equal(run.blocks, 3, `${what}: what is found can be restored`);
  assert.deepEqual(await exported(), expected, `${what}: byte for byte`);
  return 3;
}

for (const work of ['publish', 'delete'] as const) {
  test(`SIGKILL before and after every call of a ${work}: one sweep leaves nothing behind, and the work can be done again`, async (t) => {
    let kills = 0;
    for (const moment of ['before', 'after'] as const) {
      for (let killAt = 0; ; killAt++) {
        assert.ok(killAt < MOST_CALLS, 'the number of calls is bounded');
        const what = `${moment} call ${killAt} of ${work}`;
        const organizationId = await bench.organization();
        const tierFolder = join(folder, `tier-${work}-${moment}-${killAt}`);
        if (work === 'delete') await publishedBefore(organizationId, tierFolder);
        const objectsFolder = join(folder, 'objects');
        const order = { databaseUrl: bench.database.url, objectsFolder, tierFolder, organizationId };
        const signal = await runMortal({ ...order, work, killAt, moment });

        const tier = await openTier(tierFolder);
        const store = healthyStore([tier]);
        await restoreAndCompare(store, organizationId, what);
        if (work === 'delete') await removeChain(store, organizationId);
        unwrap(await store.sweep());
        unwrap(await store.sweep());
        const left = await assertClean(organizationId, tier, what);
        if (work === 'delete') assert.equal(left, 0, `${what}: deleted`);
        await publishChain(store, organizationId);
        assert.equal(await restoreAndCompare(store, organizationId, what), 3, `${what}: done again`);
        await removeChain(store, organizationId);
        unwrap(await store.sweep());
        unwrap(await store.sweep());
        assert.equal(await assertClean(organizationId, tier, what), 0);
        await store.close();
        if (signal === null) break;
        kills++;
      }
    }
    t.diagnostic(`${kills} processes killed`);
    assert.ok(kills >= 12, `${work} makes at least 6 calls; ${kills} kills`);
  });
}

/** By a worker that ends well. */
async function publishedBefore(organizationId: string, tierFolder: string): Promise<void> {
  const store = healthyStore([await openTier(tierFolder)]);
  await publishChain(store, organizationId);
  await store.close();
}

async function publishChain(store: KvStore, organizationId: string): Promise<void> {
  const tenant = await tenantOf(store, organizationId);
  const hashes = chainHashes(tenant.root, TOKENS);
  await engine.step([{ tokens: TOKENS, position: 0, blockTable: PHYSICAL_BLOCKS }]);
  unwrap(await store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks: PHYSICAL_BLOCKS }).done);
}

async function removeChain(store: KvStore, organizationId: string): Promise<void> {
  const tenant = await tenantOf(store, organizationId);
  unwrap(await store.remove(tenant, chainHashes(tenant.root, TOKENS)));
}
