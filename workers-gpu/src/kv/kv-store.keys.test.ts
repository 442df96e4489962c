import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { nextHash } from '@longshore/core';
import { byteSeconds, checkLedger, deleteOrganization, kvAccount, rotateDataKeys, setQuota } from '@longshore/db';
import { runSql } from '@longshore/db/testing';
import type { Outcome } from './outcome.ts';
import { chainOf, fillChain, type KvBench, MASTER_KEY, openKvBench, tenantOf } from './testing/kv-bench.ts';

/** Keys, quotas and the end of an organization, through workers that still remember how things were. */
let bench: KvBench;
before(async () => {
  bench = await openKvBench();
});
after(async () => {
  assert.deepEqual(await checkLedger(bench.client.db), []);
  await bench.close();
});

function unwrap<T>(outcome: Outcome<T>): T {
  assert.ok(outcome.ok, outcome.ok ? '' : outcome.fault.message);
  return outcome.value;
}

async function published(blocks: number) {
  const organizationId = await bench.organization();
  const { store, engine } = bench.worker('a');
  const tenant = await tenantOf(store, organizationId);
  const { hashes } = chainOf(tenant, blocks);
  const request = { tenant, hashes, firstBlock: 0, physicalBlocks: fillChain(engine, blocks) };
  unwrap(await store.publish(request).done);
  return { organizationId, store, engine, tenant, hashes, request };
}

const rowsOf = async (organizationId: string) =>
  (await bench.objectRows()).filter((row) => row.organizationId === organizationId);
const objectsOf = (organizationId: string) =>
  [...bench.objects.objects.keys()].filter((key) => key.includes(organizationId));

test('a deleted organization’s cache cannot be read from that moment on, not even by a worker that holds its keys, and goes entirely', async () => {
  const { organizationId, store, tenant, hashes, request } = await published(4);
  const firstToken = 4 * 128;
  const tail = { tenant, parentHash: hashes[3]!, hash: nextHash(hashes[3]!, [1], 0, 1), firstToken, tokenCount: 1 };
  const { objectKey } = unwrap(await store.putTail({ ...tail, sessionId: 'ses_1', physicalBlock: 1 }));
  const slices = unwrap(await store.lookup({ tenant, hashes })).slices;
  assert.equal(slices.length, 1);

  const deleted = await deleteOrganization(bench.client.db, organizationId);
  assert.deepEqual(deleted, { objects: 2, sessions: 0, dataKeys: 1 });
  const found = unwrap(await store.lookup({ tenant, hashes }));
  assert.equal(found.blockCount, 0);
  const asked = await store.getTail({ ...tail, objectKey, physicalBlock: 2 });
  assert.equal(asked.ok || asked.fault.kind, 'missing');
  const again = await store.publish(request).done;
  assert.equal(again.ok || again.fault.kind, 'over_quota', 'and takes nothing new');
  assert.equal((await kvAccount(bench.client.db, organizationId)).heldBytes, 0);
  const billed = () => byteSeconds(bench.client.db, organizationId, new Date(0), new Date());
  const last = await billed();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(await billed(), last, 'and is billed no more');

  const fresh = bench.worker('b');
  const keys = await fresh.store.tenant(organizationId);
  assert.equal(keys.ok || keys.fault.kind, 'missing', 'its keys are gone');
  unwrap(await store.sweep());
  assert.deepEqual([await rowsOf(organizationId), objectsOf(organizationId)], [[], []]);
  assert.equal(await deleteOrganization(bench.client.db, organizationId), undefined);
});

test('deletion wins against publishes that run meanwhile: nothing of the organization becomes readable afterwards', async () => {
  const { organizationId, store, engine, tenant } = await published(2);
  const chains = Array.from({ length: 12 }, (_, seed) => chainOf(tenant, 2, 100 + seed).hashes);
  const physicalBlocks = fillChain(engine, 2);
  const publishes = chains.map((hashes) => store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks }).done);
  await Promise.all([...publishes, deleteOrganization(bench.client.db, organizationId)]);
  for (const hashes of chains) assert.equal(unwrap(await store.lookup({ tenant, hashes })).blockCount, 0);
  unwrap(await store.sweep());
  assert.deepEqual([await rowsOf(organizationId), objectsOf(organizationId)], [[], []]);
});

test('after a rotation old chains are no longer found nor billed, new ones are, and a kept chain stays readable under both keys', async () => {
  const { organizationId, store, tenant, hashes } = await published(3);
  assert.deepEqual(await rotateDataKeys(bench.client.db, MASTER_KEY, organizationId), {
    retiredObjects: 1,
    retiredKeys: 1,
  });
  assert.equal(unwrap(await store.lookup({ tenant, hashes })).blockCount, 0);
  assert.equal((await kvAccount(bench.client.db, organizationId)).heldBytes, 0);

  const after = bench.worker('after');
  const renewed = await tenantOf(after.store, organizationId);
  assert.notDeepEqual(renewed.root, tenant.root);
  const chain = chainOf(renewed, 3).hashes;
  const physicalBlocks = fillChain(after.engine, 3);
  unwrap(await after.store.publish({ tenant: renewed, hashes: chain, firstBlock: 0, physicalBlocks }).done);
  await rotateDataKeys(bench.client.db, MASTER_KEY, organizationId, { keepChain: true });
  const last = bench.worker('last');
  const newest = await tenantOf(last.store, organizationId);
  assert.notDeepEqual(newest.current.id, renewed.current.id);
  const hit = unwrap(await last.store.lookup({ tenant: newest, hashes: chain }));
  const run = await last.store.restoreRun({
    tenant: newest,
    slices: hit.slices,
    physicalBlocks: Uint32Array.of(7, 8, 9),
  });
  assert.deepEqual([run.blocks, run.fault], [3, undefined]);
});

test('over its quota an organization gives up its own oldest leaves, and declines with its reason when nothing can go', async () => {
  const { organizationId, store, engine, tenant, hashes } = await published(2);
  const { heldBytes } = await kvAccount(bench.client.db, organizationId);
  await setQuota(bench.client.db, organizationId, heldBytes);
  const second = chainOf(tenant, 2, 2).hashes;
  const publish = (chain: Uint8Array[]) =>
    store.publish({ tenant, hashes: chain, firstBlock: 0, physicalBlocks: fillChain(engine, chain.length) }).done;
  unwrap(await publish(second));
  assert.equal(store.stats().evictedObjects, 1);
  assert.equal(unwrap(await store.lookup({ tenant, hashes })).blockCount, 0);
  const larger = await publish(chainOf(tenant, 4, 3).hashes);
  assert.ok(!larger.ok);
  assert.equal(larger.fault.kind, 'over_quota');
  assert.match(larger.fault.message, /bytes do not fit/);
  assert.equal(unwrap(await store.lookup({ tenant, hashes: second })).blockCount, 2, 'nothing went for it');
});

test('children that are put before their parents wait for them, and without them are refused by name', async () => {
  const { store, engine, tenant } = await published(1);
  const { hashes } = chainOf(tenant, 9, 5);
  const physicalBlocks = fillChain(engine, 9);
  const part = (first: number, end: number) =>
    store.publish({ tenant, hashes, firstBlock: first, physicalBlocks: physicalBlocks.slice(first, end) }).done;
  const lone = await part(3, 6);
  assert.equal(lone.ok || lone.fault.kind, 'orphaned');
  const parts = await Promise.all([part(6, 9), part(0, 3), part(3, 6)]);
  const written = parts.map((outcome) => (outcome.ok ? outcome.value.written : outcome.fault.kind));
  assert.deepEqual(written.slice(1), [3, 3]);
  if (!parts[0]!.ok) unwrap(await part(6, 9));
  assert.equal(unwrap(await store.lookup({ tenant, hashes })).blockCount, 9);
});

test('a row whose object is gone from the bucket is found by the walk, not only by its next reader', async () => {
  const { organizationId, store } = await published(2);
  const [row] = await rowsOf(organizationId);
  await bench.objects.delete(row!.key);
  await runSql(bench.database.url, `update kv_objects set ready_at = ready_at - interval '1 hour' where key = $1`, [
    row!.key,
  ]);
  let lost = 0;
  for (let pass = 0; pass < 5; pass++) lost += unwrap(await store.sweep()).lostObjects;
  assert.equal(lost, 1);
  assert.deepEqual(await rowsOf(organizationId), []);
});
