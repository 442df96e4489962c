import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openDiskTier } from './adapters/disk-tier.ts';
import { createMemoryObjectStore } from './adapters/memory-object-store.ts';
import type { Outcome } from './outcome.ts';
import type { Tier } from './ports.ts';
import { type FaultPlan, faultPlan, faulty } from './testing/faulty.ts';
import { chainOf, fillChain, type KvBench, openKvBench, tenantOf } from './testing/kv-bench.ts';
import { createHostTier } from './tiers/host-tier.ts';

/** The KV store with a host and a disk tier before an object store that can be broken; a real database. */

let bench: KvBench;
const folders: string[] = [];
before(async () => {
  bench = await openKvBench();
});
after(async () => {
  await bench.close();
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

function unwrap<T>(outcome: Outcome<T>): T {
  assert.ok(outcome.ok, outcome.ok ? '' : outcome.fault.message);
  return outcome.value;
}

const now = () => performance.now();
const disabled = (methods: string[]) => faultPlan(undefined, 'before', { methods });

/** A worker with two tiers that has published a chain of 4 blocks; `plans` break its parts. */
async function published(name: string, store = Object.assign(createMemoryObjectStore(), { tier: 's3' as const })) {
  const folder = await mkdtemp(join(tmpdir(), 'longshore-tiers-'));
  folders.push(folder);
  const plans = { host: disabled(['readInto']), disk: disabled(['readInto']), s3: disabled(['readInto', 'put']) };
  const host = createHostTier({ budgetBytes: 10_000_000, ttlMs: 1e9, now });
  const disk = await openDiskTier({
    folder,
    budgetBytes: 10_000_000,
    ttlMs: 1e9,
    now,
    wallClock: Date.now,
    minFreeBytes: 0,
  });
  const tiers: Tier[] = [faulty(host, plans.host), faulty(disk, plans.disk)];
  const { store: kv, engine } = bench.worker(name, { objects: faulty(store, plans.s3), tiers });
  const tenant = await tenantOf(kv, await bench.organization());
  const { hashes } = chainOf(tenant, 4);
  unwrap(await kv.publish({ tenant, hashes, firstBlock: 0, physicalBlocks: fillChain(engine, 4) }).done);
  const { slices } = unwrap(await kv.lookup({ tenant, hashes }));
  const key = slices[0]!.key;
  await until(() => host.has(key) && disk.has(key));
  const restore = async () => {
    const run = await kv.restoreRun({ tenant, slices, physicalBlocks: Uint32Array.of(10, 11, 12, 13) });
    for (let block = 0; block < run.blocks; block++)
      assert.deepEqual(
        engine.imported(10 + block)?.map((bytes) => Buffer.from(bytes)),
        [0, 1, 2].map((layer) => Buffer.from(engine.expected(1000 + block, layer, 'int8', block))),
      );
    return { blocks: run.blocks, tier: run.tier, fault: run.fault?.kind };
  };
  return { kv, engine, tenant, hashes, key, store, host, disk, folder, plans, restore };
}

async function until(condition: () => boolean): Promise<void> {
  for (const deadline = Date.now() + 30_000; !condition(); await new Promise((resolve) => setTimeout(resolve, 10)))
    assert.ok(Date.now() < deadline, 'did not happen in 30 s');
}
const lasting = (plan: FaultPlan, mode: FaultPlan['mode']) =>
  Object.assign(plan, { failAt: plan.calls, mode, lasting: true });

test('a restore reads the nearest tier and says which; what came from afar is near the next time', async () => {
  const { kv, key, host, disk, restore } = await published('nearest');
  assert.equal(kv.tierOf(key), 'host');
  assert.deepEqual(await restore(), { blocks: 4, tier: 'host', fault: undefined });
  await host.remove(key);
  assert.equal(kv.tierOf(key), 'disk');
  assert.deepEqual(await restore(), { blocks: 4, tier: 'disk', fault: undefined });
  await until(() => host.has(key));
  await Promise.all([host.remove(key), disk.remove(key)]);
  assert.equal(kv.tierOf(key), 's3');
  assert.deepEqual(await restore(), { blocks: 4, tier: 's3', fault: undefined });
  await until(() => host.has(key) && disk.has(key));
  assert.deepEqual(
    kv.stats().tiers.map(({ name, hits, misses, fills }) => ({ name, hits, misses, fills })),
    [
      { name: 'host', hits: 1, misses: 2, fills: 3 },
      { name: 'disk', hits: 1, misses: 1, fills: 2 },
    ],
  );
});

test('a bad near copy is deleted and the object read from afar: nothing is quarantined', async () => {
  const { kv, key, plans, host, restore } = await published('bad-near');
  Object.assign(plans.host, { failAt: plans.host.calls, mode: 'bit_flip' });
  assert.deepEqual(await restore(), { blocks: 4, tier: 's3', fault: undefined });
  assert.equal(kv.stats().quarantinedObjects, 0);
  assert.equal(kv.stats().faults.quarantined, 1, 'it is counted and logged all the same');
  await until(() => host.has(key));
  assert.deepEqual(await restore(), { blocks: 4, tier: 'host', fault: undefined });
});

test('an object that is bad in the store too is quarantined, and leaves the tiers', async () => {
  const { kv, key, plans, host, disk, restore, tenant, hashes } = await published('bad-far');
  lasting(plans.host, 'bit_flip');
  lasting(plans.s3, 'bit_flip');
  assert.deepEqual(await restore(), { blocks: 0, tier: undefined, fault: 'quarantined' });
  assert.deepEqual([host.has(key), disk.has(key), kv.stats().quarantinedObjects], [false, false, 1]);
  assert.equal(unwrap(await kv.lookup({ tenant, hashes })).endedBy, 'quarantined');
});

test('the tiers serve while the object store is dead, its breaker open', async () => {
  const { kv, key, plans, host, disk, restore } = await published('dead-store');
  lasting(plans.s3, 'before');
  await Promise.all([host.remove(key), disk.remove(key)]);
  for (let tries = 0; tries < 5; tries++) assert.equal((await restore()).fault, 'unavailable');
  assert.equal(kv.stats().storeBreakerOpen, true);
  plans.s3.failAt = undefined;
  const other = await published('dead-store-2');
  lasting(other.plans.s3, 'before');
  assert.deepEqual(await other.restore(), { blocks: 4, tier: 'host', fault: undefined });
});

test('a tier that fails every read or lies about what it has costs only the way to the next', async () => {
  for (const mode of ['nothing', 'truncation', 'reset', 'before'] as const) {
    const { plans, restore, kv } = await published(`failing-${mode}`);
    lasting(plans.disk, mode);
    lasting(plans.host, mode);
    const { blocks, tier } = await restore();
    assert.deepEqual([blocks, tier], [4, 's3'], mode);
    assert.equal(kv.stats().quarantinedObjects, 0);
  }
});

test('what another worker deleted leaves this worker with its next sweeps', async () => {
  const { kv, key, tenant, hashes, store, host, disk } = await published('keeps');
  const sweeper = bench.worker('sweeps', { objects: store });
  unwrap(await kv.remove(tenant, hashes));
  assert.equal(unwrap(await kv.lookup({ tenant, hashes })).blockCount, 0, 'a tombstoned object is never served');
  unwrap(await sweeper.store.sweep());
  assert.equal(store.objects.size, 0);
  assert.equal(host.has(key), true);
  unwrap(await kv.sweep());
  assert.deepEqual([host.has(key), disk.has(key)], [false, false]);
});

test('tiers hold sealed bytes only', async () => {
  const { engine, store, key, folder, disk } = await published('sealed');
  const sealed = Buffer.from(store.objects.get(key)!.bytes);
  const held = Buffer.alloc(sealed.length);
  assert.equal(await disk.readInto(key, held), true);
  assert.ok(held.equals(sealed));
  const [name] = await readdir(folder);
  const file = await readFile(join(folder, name!));
  for (let block = 0; block < 4; block++)
    for (const layer of [0, 1, 2])
      assert.equal(file.indexOf(engine.expected(1000 + block, layer, 'int8', block).subarray(0, 16)), -1);
  await writeFile(join(folder, name!), file);
});
