import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { BLOCK_TOKENS, chainHashes, nextHash } from '@longshore/core';
import { insertDataKey, loadDataKeys } from '@longshore/db';
import { runSql } from '@longshore/db/testing';
import { EngineError } from '@longshore/native';
import type { PublishRequest } from './kv-store.ts';
import type { Outcome } from './outcome.ts';
import { chainOf, fillChain, type KvBench, MASTER_KEY, openKvBench, SHAPE, tenantOf } from './testing/kv-bench.ts';

let bench: KvBench;
before(async () => {
  bench = await openKvBench();
});
after(() => bench.close());

function unwrap<T>(outcome: Outcome<T>): T {
  assert.ok(outcome.ok, outcome.ok ? '' : outcome.fault.message);
  return outcome.value;
}

/** Two workers of one organization, the first with a published chain of `blocks`. */
async function published(blocks: number, options: { seed?: number } = {}) {
  const organizationId = await bench.organization();
  const a = bench.worker('a');
  const b = bench.worker('b');
  const tenant = await tenantOf(a.store, organizationId);
  const chain = chainOf(tenant, blocks, options.seed);
  const physicalBlocks = fillChain(a.engine, blocks);
  const request: PublishRequest = { tenant, hashes: chain.hashes, firstBlock: 0, physicalBlocks };
  const handle = a.store.publish(request);
  await handle.exported;
  const result = unwrap(await handle.done);
  return { organizationId, a, b, tenant, chain, request, result };
}

function assertImported(
  engine: Awaited<ReturnType<typeof published>>['b']['engine'],
  physical: number,
  blockIndex: number,
) {
  for (let layer = 0; layer < SHAPE.layers; layer++)
    assert.deepEqual(
      engine.imported(physical)?.[layer],
      engine.expected(1000 + blockIndex, layer, SHAPE.codec, blockIndex),
      `block ${blockIndex}, layer ${layer}`,
    );
}

test('what one worker publishes another restores, byte for byte, in objects of several blocks', async () => {
  const { b, tenant, chain, result } = await published(9);
  assert.equal(result.blocks, 9);
  assert.equal(result.written, 9);
  const hit = unwrap(await b.store.lookup({ tenant, hashes: chain.hashes }));
  assert.deepEqual([hit.blockCount, hit.endedBy], [9, 'complete']);
  assert.equal(hit.slices.length, 1);
  const progress: number[] = [];
  const run = await b.store.restoreRun({
    tenant,
    slices: hit.slices,
    physicalBlocks: Uint32Array.from({ length: 9 }, (_, index) => 50 + index),
    onProgress: (blocks) => progress.push(blocks),
  });
  assert.deepEqual([run.blocks, run.fault, run.bytes], [9, undefined, result.storedBytes]);
  assert.deepEqual(progress, [9]);
  for (let index = 0; index < 9; index++) assertImported(b.engine, 50 + index, index);
  const stats = b.store.stats();
  assert.deepEqual([stats.restoredBlocks, stats.lookupBlocksHit, stats.faults.quarantined], [9, 9, 0]);
});

test('restores only the part of an object that is wanted', async () => {
  const { b, tenant, chain } = await published(6);
  for (const [from, until] of [
    [0, 2],
    [2, 6],
    [3, 4],
  ] as const) {
    const hit = unwrap(await b.store.lookup({ tenant, hashes: chain.hashes.slice(0, until), from }));
    assert.equal(hit.blockCount, until - from);
    const restored = unwrap(
      await b.store.restore({
        tenant,
        slice: hit.slices[0]!,
        physicalBlocks: Uint32Array.from({ length: until - from }, (_, index) => 100 + index),
      }),
    );
    assert.equal(restored.blocks, until - from);
    for (let index = from; index < until; index++) assertImported(b.engine, 100 + index - from, index);
  }
});

test('a chain that diverges reuses exactly the shared blocks and says why it ends', async () => {
  const { b, tenant, chain } = await published(4);
  const tokens = [...chain.tokens];
  tokens[2 * BLOCK_TOKENS + 5]! ^= 1;
  const hit = unwrap(await b.store.lookup({ tenant, hashes: chainHashes(tenant.root, tokens) }));
  assert.deepEqual([hit.blockCount, hit.endedBy], [2, 'never_seen']);
});

test('publishing again writes nothing, and only missing blocks of a longer chain are written', async () => {
  const { a, b, tenant, request } = await published(4, { seed: 77 });
  const again = unwrap(await a.store.publish(request).done);
  assert.deepEqual([again.blocks, again.written], [4, 0]);
  const longer = chainOf(tenant, 7, 77);
  const physicalBlocks = fillChain(b.engine, 7);
  const grown = unwrap(await b.store.publish({ tenant, hashes: longer.hashes, firstBlock: 0, physicalBlocks }).done);
  assert.deepEqual([grown.blocks, grown.written], [7, 3]);
  const hit = unwrap(await a.store.lookup({ tenant, hashes: longer.hashes }));
  assert.deepEqual(
    hit.slices.map((slice) => [slice.firstBlock, slice.hashes.length]),
    [
      [0, 4],
      [4, 3],
    ],
  );
});

test('the same blocks published twice at once by one worker are written once, and both calls wait for them', async () => {
  const organizationId = await bench.organization();
  const { store, engine } = bench.worker('twice');
  const tenant = await tenantOf(store, organizationId);
  const { hashes } = chainOf(tenant, 5, 5);
  const physicalBlocks = fillChain(engine, 5);
  const request = { tenant, hashes, firstBlock: 0, physicalBlocks };
  const handles = [
    store.publish(request),
    store.publish(request),
    store.publish({ ...request, physicalBlocks: physicalBlocks.slice(0, 2) }),
  ];
  const results = (await Promise.all(handles.map((handle) => handle.done))).map(unwrap);
  assert.deepEqual(
    results.map((result) => [result.blocks, result.written]),
    [
      [5, 5],
      [5, 0],
      [2, 0],
    ],
  );
  assert.equal(engine.exports, 1);
});

test('two workers that race publish one readable chain; the loser leaves only what the sweeper takes', async () => {
  const organizationId = await bench.organization();
  const workers = [bench.worker('racer-1'), bench.worker('racer-2')];
  const tenant = await tenantOf(workers[0]!.store, organizationId);
  const { hashes } = chainOf(tenant, 6, 6);
  const outcomes = await Promise.all(
    workers.map(({ store, engine }) => {
      const physicalBlocks = fillChain(engine, 6);
      return store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks }).done;
    }),
  );
  const written = outcomes.map(unwrap).map((result) => result.written);
  assert.equal(written[0]! + written[1]!, 6);
  const hit = unwrap(await workers[0]!.store.lookup({ tenant, hashes }));
  assert.equal(hit.blockCount, 6);
  unwrap(await workers[0]!.store.sweep());
  const rows = (await bench.objectRows()).filter((row) => row.organizationId === organizationId);
  assert.ok(rows.every((row) => row.state === 'ready'));
  assert.deepEqual(
    [...bench.objects.objects.keys()].filter((key) => key.includes(organizationId)).sort(),
    rows.map((row) => row.key).sort(),
  );
});

test('a tail comes back exactly, raw, only with its own hash, and is superseded with its turn', async () => {
  const { a, b, tenant, chain } = await published(2, { seed: 8 });
  const tail = [1, 2, 3, 4, 5];
  const parentHash = chain.hashes[1]!;
  const hash = nextHash(parentHash, tail, 0, tail.length);
  a.engine.fill(30, 4242);
  const firstToken = 2 * BLOCK_TOKENS;
  const where = { tenant, parentHash, hash, firstToken, tokenCount: tail.length };
  const stored = unwrap(await a.store.putTail({ ...where, sessionId: 'ses_1', physicalBlock: 30 }));
  unwrap(await b.store.getTail({ ...where, objectKey: stored.objectKey, physicalBlock: 60 }));
  for (let layer = 0; layer < SHAPE.layers; layer++)
    assert.deepEqual(b.engine.imported(60)![layer], b.engine.expected(4242, layer, 'raw', 2, tail.length));

  const wrongHash = { ...where, hash: nextHash(parentHash, [9], 0, 1), objectKey: stored.objectKey, physicalBlock: 61 };
  const refused = await b.store.getTail(wrongHash);
  assert.equal(refused.ok, false);
  assert.equal(b.engine.imported(61), undefined);
  assert.throws(() => a.store.putTail({ ...where, tokenCount: 128, sessionId: 's', physicalBlock: 1 }), RangeError);
});

test('one organization finds nothing of another, even with the same tokens', async () => {
  const { chain, b, result } = await published(3);
  assert.equal(result.written, 3);
  const stranger = await tenantOf(b.store, await bench.organization());
  const own = unwrap(await b.store.lookup({ tenant: stranger, hashes: chainOf(stranger, 3).hashes }));
  const stolen = unwrap(await b.store.lookup({ tenant: stranger, hashes: chain.hashes }));
  assert.deepEqual([own.blockCount, stolen.blockCount], [0, 0]);
});

test('remove hides a chain at once and a later publish brings it back', async () => {
  const { a, b, tenant, chain, request } = await published(5, { seed: 9 });
  assert.deepEqual(unwrap(await a.store.remove(tenant, chain.hashes)), { objects: 1, kept: 0 });
  const gone = unwrap(await b.store.lookup({ tenant, hashes: chain.hashes }));
  assert.deepEqual([gone.blockCount, gone.endedBy], [0, 'deleted']);
  assert.equal(unwrap(await a.store.publish(request).done).written, 5);
  unwrap(await a.store.sweep());
  const back = unwrap(await b.store.lookup({ tenant, hashes: chain.hashes }));
  assert.equal(back.blockCount, 5);
  const run = await b.store.restoreRun({ tenant, slices: back.slices, physicalBlocks: Uint32Array.of(0, 1, 2, 3, 4) });
  assert.equal(run.blocks, 5);
});

test('expired blocks are no hit, are swept, and a use slides the expiry', async () => {
  const { a, tenant, chain, organizationId } = await published(2, { seed: 10 });
  const expiryOf = async () =>
    (await bench.objectRows()).find((row) => row.organizationId === organizationId)!.expiresAt.getTime();
  const expireIn = (interval: string) =>
    runSql(
      bench.database.url,
      'update kv_objects set expires_at = now() + cast($2 as interval) where organization_id = $1',
      [organizationId, interval],
    );
  await expireIn('5 seconds');
  const before = await expiryOf();
  const key = unwrap(await a.store.lookup({ tenant, hashes: chain.hashes })).slices[0]!.key;
  for (let tries = 0; tries < 100 && (await expiryOf()) === before; tries++)
    await new Promise((r) => setTimeout(r, 20));
  assert.ok((await expiryOf()) > before + 3000_000, 'a lookup slides it by the ttl');
  unwrap(await a.store.touch(tenant, chain.hashes, 10 * 3600));
  assert.ok((await expiryOf()) > before + 9 * 3600_000);
  unwrap(await a.store.touch(tenant, chain.hashes, 1));
  assert.ok((await expiryOf()) > before + 9 * 3600_000, 'never shortened');

  await expireIn('0 seconds');
  const hit = unwrap(await a.store.lookup({ tenant, hashes: chain.hashes }));
  assert.deepEqual([hit.blockCount, hit.endedBy], [0, 'expired']);
  assert.equal(unwrap(await a.store.sweep()).expired, 1);
  assert.equal(await bench.objects.head(key), undefined);
});

test('a full publish queue refuses at once and counts what it dropped', async () => {
  const { store, engine } = bench.worker('full', { maxQueuedBlocks: 4 });
  const tenant = await tenantOf(store, await bench.organization());
  const { hashes } = chainOf(tenant, 8);
  const physicalBlocks = fillChain(engine, 8);
  const first = store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks: physicalBlocks.slice(0, 3) });
  const second = store.publish({ tenant, hashes, firstBlock: 3, physicalBlocks: physicalBlocks.slice(3, 5) });
  const refused = await second.done;
  assert.equal(refused.ok || refused.fault.kind, 'overloaded');
  unwrap(await first.done);
  assert.equal(store.stats().droppedBlocks, 2);
  assert.equal(store.stats().publishQueueBlocks, 0);
  unwrap(await store.publish({ tenant, hashes, firstBlock: 3, physicalBlocks: physicalBlocks.slice(3, 7) }).done);
});

test('an engine that refuses to export fails the publish, not the process, and frees the queue', async () => {
  const { store, engine } = bench.worker('broken-engine');
  const tenant = await tenantOf(store, await bench.organization());
  const { hashes } = chainOf(tenant, 2);
  const request = { tenant, hashes, firstBlock: 0, physicalBlocks: fillChain(engine, 2) };
  engine.failNextExport = new EngineError('internal', 'gone');
  const handle = store.publish(request);
  await handle.exported;
  const outcome = await handle.done;
  assert.equal(outcome.ok || outcome.fault.kind, 'engine');
  assert.equal(store.stats().publishQueueBlocks, 0);
  assert.equal(unwrap(await store.publish(request).done).written, 2);
});

test('a rotated key seals new objects; old ones stay readable, also by a worker that knew only the old key', async () => {
  const { a, b, tenant, chain, organizationId } = await published(2, { seed: 11 });
  const staleTenant = await tenantOf(b.store, organizationId);
  const [old] = await loadDataKeys(bench.client.db, MASTER_KEY, organizationId);
  await insertDataKey(bench.client.db, MASTER_KEY, organizationId, old!.chainSecret);
  const c = bench.worker('c');
  const fresh = await tenantOf(c.store, organizationId);
  assert.notDeepEqual(fresh.current.id, tenant.current.id);
  assert.deepEqual(fresh.root, tenant.root);
  const longer = chainOf(fresh, 4, 11);
  const physicalBlocks = fillChain(c.engine, 4);
  assert.equal(
    unwrap(await c.store.publish({ tenant: fresh, hashes: longer.hashes, firstBlock: 0, physicalBlocks }).done).written,
    2,
  );
  const hit = unwrap(await b.store.lookup({ tenant: staleTenant, hashes: longer.hashes }));
  assert.equal(hit.blockCount, 4);
  const run = await b.store.restoreRun({
    tenant: staleTenant,
    slices: hit.slices,
    physicalBlocks: Uint32Array.of(1, 2, 3, 4),
  });
  assert.deepEqual([run.blocks, run.fault], [4, undefined]);
  assert.equal(a.store.stats().quarantinedObjects + chain.hashes.length, 2);
});

test('a closed store refuses everything with a typed fault and closing twice is fine', async () => {
  const { store, engine } = bench.worker('closing');
  const tenant = await tenantOf(store, await bench.organization());
  const { hashes } = chainOf(tenant, 1);
  const physicalBlocks = fillChain(engine, 1);
  const running = store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks });
  await Promise.all([store.close(), store.close()]);
  unwrap(await running.done);
  const kinds = [
    await store.lookup({ tenant, hashes }),
    await store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks }).done,
    await store.tenant(tenant.organizationId),
    await store.sweep(),
    await store.leases.claim({ tenant, hashes, firstBlock: 0, progress: () => ({ computedBlocks: 0, blockMs: 1 }) }),
  ].map((outcome) => outcome.ok || outcome.fault.kind);
  assert.deepEqual(new Set(kinds), new Set(['closed']));
});
