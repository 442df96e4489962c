import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chainRoot } from '@longshore/core';
import type { OpenedDataKey } from '@longshore/db';
import { StoreError } from './ports.ts';
import { TenantCache } from './tenant-cache.ts';

const namespace = new Uint8Array(32).fill(5);
const keyOf = (fill: number, retired = false): OpenedDataKey => ({
  id: new Uint8Array(16).fill(fill),
  dataKey: new Uint8Array(32).fill(fill),
  chainSecret: new Uint8Array(32).fill(9),
  retired,
});

/** A key ring that counts its loads, and a clock. */
function cacheOver(load: (organizationId: string) => Promise<OpenedDataKey[]>) {
  const state = { now: 0, loads: [] as string[] };
  const ring = {
    load: (organizationId: string) => {
      state.loads.push(organizationId);
      return load(organizationId);
    },
  };
  return { state, cache: new TenantCache(ring, namespace, () => state.now) };
}

test('loads once for callers at once, and again only after 30 seconds or when asked for fresh keys', async () => {
  const { state, cache } = cacheOver(async () => [keyOf(1)]);
  const [a, b] = await Promise.all([cache.get('x'), cache.get('x')]);
  assert.equal(a, b);
  state.now = 29_999;
  await cache.get('x');
  assert.equal(state.loads.length, 1);
  await cache.get('x', true);
  assert.equal(state.loads.length, 2);
  state.now += 30_000;
  await cache.get('x');
  assert.equal(state.loads.length, 3);
});

test('seals with the newest key that is not retired, opens with all, and roots the chain in the secret', async () => {
  const { cache } = cacheOver(async () => [keyOf(3, true), keyOf(2), keyOf(1)]);
  const outcome = await cache.get('x');
  assert.ok(outcome.ok);
  assert.deepEqual(outcome.value.current.id, keyOf(2).id);
  assert.equal(outcome.value.byId.size, 3);
  assert.deepEqual(outcome.value.root, chainRoot(keyOf(1).chainSecret, namespace));
});

test('failures and organizations without a usable key are faults, and are asked for again', async () => {
  let answer: () => Promise<OpenedDataKey[]> = async () => {
    throw new StoreError('unavailable', 'down');
  };
  const { state, cache } = cacheOver(() => answer());
  const down = await cache.get('x');
  assert.equal(down.ok || down.fault.kind, 'unavailable');
  answer = async () => [keyOf(1, true)];
  const none = await cache.get('x');
  assert.equal(none.ok || none.fault.kind, 'missing');
  answer = async () => [keyOf(1)];
  assert.ok((await cache.get('x')).ok);
  assert.equal(state.loads.length, 3);
});

test('holds at most 1,024 tenants and forgets the one loaded longest ago', async () => {
  const { state, cache } = cacheOver(async () => [keyOf(1)]);
  for (let index = 0; index <= 1024; index++) await cache.get(`org${index}`);
  await cache.get('org1024');
  await cache.get('org1');
  assert.equal(state.loads.length, 1025);
  await cache.get('org0');
  assert.equal(state.loads.length, 1026);
});
