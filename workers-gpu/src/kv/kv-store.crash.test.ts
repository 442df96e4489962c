import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { nextHash } from '@longshore/core';
import { commitTurn, createSession, loadSession } from '@longshore/db';
import { runSql } from '@longshore/db/testing';
import { createPostgresDirectory } from './adapters/postgres-directory.ts';
import type { Outcome } from './outcome.ts';
import { StoreError } from './ports.ts';
import { type FaultMode, type FaultPlan, faultPlan, faulty } from './testing/faulty.ts';
import { chainOf, fillChain, type KvBench, openKvBench, tenantOf, type Worker } from './testing/kv-bench.ts';

/**
 * SQLite's way: make the k-th call to the object store or the database fail, for every k, and look at what is left. Whatever happened,
 * after one sweep the bucket and the directory agree, nothing but readable objects is left, and the work can be done again.
 */

const MODES: FaultMode[] = ['before', 'after', 'dead', 'dead_after'];
let bench: KvBench;
before(async () => {
  bench = await openKvBench();
});
after(() => bench.close());

function unwrap<T>(outcome: Outcome<T>): T {
  assert.ok(outcome.ok, outcome.ok ? '' : outcome.fault.message);
  return outcome.value;
}

function faultyWorker(plan: FaultPlan): Worker {
  return bench.worker('faulty', {
    objects: faulty(bench.objects, plan),
    directory: faulty(createPostgresDirectory(bench.client.db), plan),
  });
}

/** Bucket and directory agree about this organization, and every object left is ready. */
async function assertClean(organizationId: string, what: string) {
  const rows = (await bench.objectRows()).filter((row) => row.organizationId === organizationId);
  const keys = [...bench.objects.objects.keys()].filter((key) => key.includes(organizationId));
  assert.deepEqual(rows.map((row) => row.key).sort(), keys.sort(), `${what}: bucket and directory agree`);
  assert.ok(
    rows.every((row) => row.state === 'ready'),
    `${what}: only ready objects are left`,
  );
  for (const row of rows) assert.equal(bench.objects.objects.get(row.key)!.bytes.length, row.storedBytes, what);
  const blocks = (await bench.blockRows()).filter((row) => row.organizationId === organizationId);
  assert.ok(
    blocks.every((block) => keys.includes(block.objectKey)),
    `${what}: every block row has its object`,
  );
}

/** Runs `body` with the k-th call failing, for every k until it runs without a fault, in every mode. */
async function forEveryFault(body: (plan: FaultPlan, what: string) => Promise<void>): Promise<number> {
  let runs = 0;
  for (const mode of MODES) {
    for (let failAt = 0; ; failAt++) {
      const plan = faultPlan(failAt, mode);
      await body(plan, `${mode} at call ${failAt}`);
      runs++;
      if (plan.calls <= failAt) break;
      assert.ok(failAt < 100, 'the number of calls is bounded');
    }
  }
  return runs;
}

test('a publish that fails at any call leaves only what one sweep removes, and can be done again', async () => {
  const runs = await forEveryFault(async (plan, what) => {
    const organizationId = await bench.organization();
    const worker = faultyWorker(plan);
    const healthy = bench.worker('healthy');
    const tenant = await tenantOf(worker.store, organizationId);
    const { hashes } = chainOf(tenant, 4);
    const physicalBlocks = fillChain(worker.engine, 4);
    const handle = worker.store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks });
    await handle.exported;
    const outcome = await handle.done;
    if (plan.calls > plan.failAt!) {
      const reported = !outcome.ok && outcome.fault.kind === 'unavailable';
      assert.ok(reported, `${what} (${plan.log.at(-1)}) is reported`);
    } else assert.ok(outcome.ok);

    const hit = unwrap(await healthy.store.lookup({ tenant, hashes }));
    const restored = await healthy.store.restoreRun({
      tenant,
      slices: hit.slices,
      physicalBlocks: Uint32Array.from({ length: hit.blockCount }, (_, index) => index),
    });
    assert.equal(restored.blocks, hit.blockCount, `${what}: whatever is found is whole`);

    unwrap(await healthy.store.sweep());
    await assertClean(organizationId, what);

    fillChain(healthy.engine, 4);
    unwrap(await healthy.store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks }).done);
    assert.equal(unwrap(await healthy.store.lookup({ tenant, hashes })).blockCount, 4, what);
    unwrap(await healthy.store.sweep());
    await assertClean(organizationId, what);
  });
  assert.ok(runs >= 4 * 6, `publishing makes at least 6 calls; saw ${runs} runs`);
});

test('a delete that fails at any call, sweeps included, loses no byte that a row still promises', async () => {
  const runs = await forEveryFault(async (plan, what) => {
    const organizationId = await bench.organization();
    const worker = faultyWorker(plan);
    const healthy = bench.worker('healthy');
    const tenant = await tenantOf(healthy.store, organizationId);
    const { hashes } = chainOf(tenant, 3);
    const physicalBlocks = fillChain(healthy.engine, 3);
    unwrap(await healthy.store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks }).done);

    await worker.store.remove(tenant, hashes);
    await worker.store.sweep();
    const rows = (await bench.objectRows()).filter((row) => row.organizationId === organizationId);
    for (const row of rows.filter((row) => row.state === 'ready'))
      assert.ok(bench.objects.objects.has(row.key), `${what}: a ready row has its object`);
    const hit = unwrap(await healthy.store.lookup({ tenant, hashes }));
    assert.ok(hit.blockCount === 0 || hit.blockCount === 3, `${what}: all or nothing`);

    unwrap(await healthy.store.remove(tenant, hashes));
    unwrap(await healthy.store.sweep());
    await assertClean(organizationId, what);
    assert.equal(unwrap(await healthy.store.lookup({ tenant, hashes })).blockCount, 0);
  });
  assert.ok(runs >= 4 * 8, `deleting makes at least 8 calls; saw ${runs} runs`);
});

test("a turn's tail that fails at any call, or is never committed, is swept; a committed one stays", async () => {
  await forEveryFault(async (plan, what) => {
    const organizationId = await bench.organization();
    const worker = faultyWorker(plan);
    const healthy = bench.worker('healthy');
    const tenant = await tenantOf(worker.store, organizationId);
    const { db } = bench.client;
    const [project] = await runSql(bench.database.url, 'select id from projects where organization_id = $1', [
      organizationId,
    ]);
    const sessionId = `ses_${organizationId}`;
    await createSession(db, {
      id: sessionId,
      organizationId,
      projectId: String(project!.id),
      model: 'm',
      ttlSeconds: 60,
    });

    const tail = (count: number) => ({
      tenant,
      parentHash: tenant.root,
      hash: nextHash(tenant.root, [1, 2, 3, 4], 0, count),
      firstToken: 0,
      tokenCount: count,
      physicalBlock: 5,
    });
    const commit = (version: number, objectKey: string) =>
      commitTurn(db, {
        organizationId,
        sessionId,
        expectedVersion: version,
        workerId: 'w',
        tokenCount: 3,
        sealedTokens: new Uint8Array(1),
        sealedTranscript: new Uint8Array(1),
        tailObjectKey: objectKey,
        headHash: null,
        turn: {
          requestId: 'r',
          promptTokens: 1,
          cachedTokens: 0,
          completionTokens: 1,
          finishReason: 'stop',
          tier: 'none',
          ttftMs: 1,
        },
      });
    healthy.engine.fill(5, 500);
    worker.engine.fill(5, 500);
    const first = unwrap(await healthy.store.putTail({ ...tail(3), sessionId }));
    assert.equal(await commit(0, first.objectKey), 1);

    const second = await worker.store.putTail({ ...tail(4), sessionId });
    const committed = second.ok && plan.failAt! % 2 === 0;
    if (second.ok && committed) assert.equal(await commit(1, second.value.objectKey), 2);
    unwrap(await healthy.store.sweep());
    await assertClean(organizationId, what);
    const row = await loadSession(db, organizationId, sessionId);
    const where = tail(committed ? 4 : 3);
    unwrap(await healthy.store.getTail({ ...where, objectKey: row!.tailObjectKey! }));
    const left = (await bench.objectRows()).filter((object) => object.organizationId === organizationId);
    assert.equal(left.length, 1, `${what}: one tail is left`);
  });
});

test('lookups and restores under faults at any call answer with a fault or a whole result, never by throwing', async () => {
  const organizationId = await bench.organization();
  const healthy = bench.worker('healthy');
  const tenant = await tenantOf(healthy.store, organizationId);
  const { hashes } = chainOf(tenant, 3);
  unwrap(
    await healthy.store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks: fillChain(healthy.engine, 3) }).done,
  );
  await forEveryFault(async (plan, what) => {
    const worker = faultyWorker(plan);
    const hit = await worker.store.lookup({ tenant, hashes });
    if (!hit.ok) return assert.equal(hit.fault.kind, 'unavailable', what);
    const run = await worker.store.restoreRun({
      tenant,
      slices: hit.value.slices,
      physicalBlocks: Uint32Array.of(0, 1, 2),
    });
    assert.ok(run.blocks === 3 || run.fault?.kind === 'unavailable', what);
  });
  assert.equal(
    unwrap(await healthy.store.lookup({ tenant, hashes })).blockCount,
    3,
    'an unreachable store quarantines nothing',
  );
});

test('a bucket with objects that no row names is cleaned page by page', async () => {
  const organizationId = await bench.organization();
  const worker = bench.worker('walker');
  const tenant = await tenantOf(worker.store, organizationId);
  const { hashes } = chainOf(tenant, 2);
  unwrap(
    await worker.store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks: fillChain(worker.engine, 2) }).done,
  );
  for (let index = 0; index < 1200; index++)
    await bench.objects.put(`kv/${organizationId}/lost/${index}`, new Uint8Array(1), 0);
  let found = 0;
  for (let pass = 0; pass < 10; pass++) {
    const report = unwrap(await worker.store.sweep());
    found += report.orphanObjects;
    if (!report.more) break;
  }
  assert.equal(found, 1200);
  await assertClean(organizationId, 'after the walk');
});

test('one object that cannot be deleted does not keep the sweeper from deleting the others', async () => {
  const organizationId = await bench.organization();
  const healthy = bench.worker('healthy');
  const tenant = await tenantOf(healthy.store, organizationId);
  const chains = [1, 2, 3].map((seed) => chainOf(tenant, 1, seed).hashes);
  for (const hashes of chains)
    unwrap(
      await healthy.store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks: fillChain(healthy.engine, 1) }).done,
    );
  const keys = (await bench.objectRows()).flatMap((row) => (row.organizationId === organizationId ? [row.key] : []));
  const stuck = bench.worker('stuck', {
    objects: {
      ...bench.objects,
      delete: async (key) => {
        if (key === keys[0]) throw new StoreError('unavailable', 'access denied');
        return bench.objects.delete(key);
      },
    },
  });
  unwrap(await stuck.store.remove(tenant, chains.flat()));
  assert.equal((await stuck.store.sweep()).ok, false, 'the fault is reported');
  const left = (await bench.objectRows()).filter((row) => row.organizationId === organizationId);
  assert.deepEqual(
    left.map((row) => [row.key, row.state]),
    [[keys[0], 'tombstone']],
  );
  unwrap(await healthy.store.sweep());
  await assertClean(organizationId, 'after the repair');
});
