import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { createMemoryObjectStore } from '../adapters/memory-object-store.ts';
import type { StoreFault } from '../outcome.ts';
import type { ObjectStore, Tier } from '../ports.ts';
import { faultPlan, faulty } from '../testing/faulty.ts';
import { objectStoreContract } from '../testing/object-store-contract.ts';
import { createHostTier } from './host-tier.ts';
import { TieredObjects } from './tiered-objects.ts';

const bytesOf = (length: number, seed = 1) =>
  Uint8Array.from({ length }, (_, index) => (Math.imul(index + seed, 2654435761) >>> 13) & 255);
const BODY = bytesOf(1000);
const TWO_TIERS = [50_000, 5_000_000];

/** Two memory tiers, the second in the disk's place, before a memory store. */
function open(more: { writeThrough?: boolean; wrap?: (tier: Tier) => Tier; budgets?: number[] } = {}) {
  const store = createMemoryObjectStore();
  const faults: StoreFault[] = [];
  const now = () => performance.now();
  const budgets = more.budgets ?? TWO_TIERS;
  const tiers = budgets.map((budgetBytes, at) => {
    const tier = {
      ...createHostTier({ budgetBytes, ttlMs: 1e9, now }),
      name: at === 0 ? ('host' as const) : ('disk' as const),
    };
    return at === 0 && more.wrap ? more.wrap(tier) : tier;
  });
  const objects = new TieredObjects({
    store: Object.assign(store, { tier: 's3' as const }),
    tiers,
    costOf: () => 100,
    writeThrough: more.writeThrough ?? true,
    onFault: (fault) => faults.push(fault),
  });
  const put = async (key: string, body = BODY) => {
    await objects.put(key, body, crc32(body));
    objects.published(key, body);
  };
  const read = async (key: string, length = BODY.length) => {
    const target = new Uint8Array(length);
    const tier = await objects.readFrom(key, target);
    return { tier, target };
  };
  return { store, objects, tiers, faults, put, read };
}

/** Everything put is near, as after a publish. */
function written(objects: TieredObjects): ObjectStore {
  const put = async (key: string, body: Uint8Array, crc: number) => {
    await objects.put(key, body, crc);
    objects.published(key, body);
  };
  return new Proxy(objects, {
    get: (target, name) => (name === 'put' ? put : Reflect.get(target, name).bind?.(target)),
  });
}

objectStoreContract('tiered', async () => {
  const { objects } = open({ budgets: [20_000_000, 20_000_000] });
  return { store: written(objects), stop: () => objects.close() };
});
objectStoreContract('tiered, with tiers too small for anything', async () => {
  const { objects } = open({ budgets: [100, 100] });
  return { store: written(objects), stop: () => objects.close() };
});

test('a publish fills the near tiers, or only the store where it is told so', async () => {
  const through = open();
  await through.put('kv/a');
  await through.objects.idle();
  assert.equal(through.objects.tierOf('kv/a'), 'host');
  assert.deepEqual(await through.read('kv/a'), { tier: 'host', target: BODY });
  const around = open({ writeThrough: false });
  await around.put('kv/a');
  assert.equal(around.objects.tierOf('kv/a'), 's3');
  assert.equal((await around.read('kv/a')).tier, 's3');
});

test('what was put is verified at the store, not at a near copy', async () => {
  const { objects, put, store } = open();
  await put('kv/a');
  store.objects.set('kv/a', { bytes: bytesOf(1000, 2), modifiedAt: new Date() });
  const target = new Uint8Array(1000);
  await objects.readStored('kv/a', target);
  assert.deepEqual(target, bytesOf(1000, 2));
});

test('reads the nearest copy, and refills only what is nearer than what served', async () => {
  const { objects, tiers, put, read } = open({ writeThrough: false });
  await put('kv/a');
  assert.equal((await read('kv/a')).tier, 's3');
  objects.offer('kv/a', BODY, 's3');
  await objects.idle();
  assert.equal((await read('kv/a')).tier, 'host');
  await tiers[0]!.remove('kv/a');
  assert.equal(objects.tierOf('kv/a'), 'disk');
  assert.equal((await read('kv/a')).tier, 'disk');
  objects.offer('kv/a', BODY, 'disk');
  await objects.idle();
  assert.equal((await read('kv/a')).tier, 'host');
  assert.deepEqual(
    tiers.map((tier) => tier.stats().fills),
    [2, 1],
  );
});

test('what is offered may be overwritten at once', async () => {
  const { objects, read } = open();
  const body = new Uint8Array(BODY);
  objects.offer('kv/a', body, 's3');
  body.fill(0);
  await objects.idle();
  assert.deepEqual((await read('kv/a')).target, BODY);
});

test('one fill of a key at a time, however often it is offered', async () => {
  const { objects, tiers } = open();
  for (let at = 0; at < 20; at++) objects.offer('kv/a', BODY, 's3');
  await objects.idle();
  for (let at = 0; at < 20; at++) objects.offer('kv/a', BODY, 's3');
  await objects.idle();
  assert.deepEqual(
    tiers.map((tier) => tier.stats().fills),
    [1, 1],
  );
});

test('a discarded copy is gone from every near tier, and the store is read', async () => {
  const { objects, put, read } = open();
  await put('kv/a');
  assert.equal(await objects.discard('kv/a'), true);
  assert.equal(await objects.discard('kv/a'), false, 'nothing nearer is left to blame');
  assert.equal((await read('kv/a')).tier, 's3');
});

test('a deleted object is nowhere', async () => {
  const { objects, put, read, store } = open();
  await put('kv/a');
  await objects.delete('kv/a');
  assert.equal(store.objects.size, 0);
  await assert.rejects(read('kv/a'), { kind: 'missing' });
});

test('reconciling forgets, page by page, what the directory no longer knows', async () => {
  const { objects, tiers } = open({ budgets: [5_000_000, 5_000_000] });
  for (let at = 0; at < 1200; at++) objects.offer(`kv/${at}`, bytesOf(10, at), 's3');
  await objects.idle();
  const gone = (keys: readonly string[]) => Promise.resolve(keys.filter((key) => Number(key.slice(3)) % 2 === 1));
  let count = 0;
  for (let pass = 0; pass < 4; pass++) count += await objects.reconcile(gone);
  assert.equal(count, 1200);
  for (const tier of tiers) {
    const left = tier.keys(undefined, 2000);
    assert.equal(left.length, 600);
    assert.ok(left.every((key) => Number(key.slice(3)) % 2 === 0));
  }
});

test('a near tier that breaks half way is followed by the next, with progress that only grows', async () => {
  const half: Tier['readInto'] = async (_, target, options) => {
    target.fill(9, 0, 600);
    options?.onProgress?.(600);
    return false;
  };
  const { put, objects } = open({ wrap: (tier) => ({ ...tier, readInto: half }) });
  await put('kv/a');
  const seen: number[] = [];
  const target = new Uint8Array(BODY.length);
  assert.equal(await objects.readFrom('kv/a', target, { onProgress: (filled) => seen.push(filled) }), 'disk');
  assert.deepEqual([target, seen], [BODY, [600, 1000]]);
});

test('a tier whose fills fail costs nothing but its copies', async () => {
  const plan = faultPlan(0, 'before', { methods: ['fill'], lasting: true });
  const { put, read, objects, faults } = open({ wrap: (tier) => faulty(tier, plan) });
  await put('kv/a');
  await objects.idle();
  assert.deepEqual(await read('kv/a'), { tier: 'disk', target: BODY });
  assert.equal(faults.length, 1);
});
