import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { bootstrapOrganization, createDatabase, type DatabaseClient } from '@longshore/db';
import { migrate } from '@longshore/db/migrate';
import { startTestServer, type TestServer } from '@longshore/db/testing';
import { type LocalS3, startLocalS3 } from '@longshore/infra/testing';
import { createPostgresDirectory, createPostgresKeyRing } from './adapters/postgres-directory.ts';
import { createS3ObjectStore } from './adapters/s3-object-store.ts';
import type { KvStore } from './kv-store.ts';
import type { Outcome } from './outcome.ts';
import type { ObjectStore } from './ports.ts';
import { chainOf, fillChain, type KvBench, MASTER_KEY, openKvBench, tenantOf } from './testing/kv-bench.ts';

/** Real servers that really die. The store answers with faults, soon; it recovers by itself; nothing is quarantined for it. */

let bench: KvBench;
let s3: LocalS3;
let objects: ObjectStore;
let postgres: TestServer;
let client: DatabaseClient;
before(async () => {
  [bench, s3, postgres] = await Promise.all([openKvBench(), startLocalS3(), startTestServer()]);
  objects = createS3ObjectStore({ ...s3.options, timeoutMs: 1000 });
  await migrate(postgres.url);
  client = createDatabase(postgres.url);
});
after(async () => {
  await objects.close();
  await s3.stop();
  await client.close();
  await bench.close();
  await postgres.stop();
});

function unwrap<T>(outcome: Outcome<T>): T {
  assert.ok(outcome.ok, outcome.ok ? '' : outcome.fault.message);
  return outcome.value;
}
const kindOf = (outcome: Outcome<unknown>) => (outcome.ok ? 'ok' : outcome.fault.kind);

/** Milliseconds that `run` takes. */
async function timed(run: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await run();
  return performance.now() - startedAt;
}

/** The least of three: other processes of the machine may disturb one. */
async function quickest(run: () => Promise<unknown>): Promise<number> {
  return Math.min(await timed(run), await timed(run), await timed(run));
}

/** Repeats until it succeeds; the breaker keeps it waiting for up to its pause. */
async function eventually(run: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 15_000; Date.now() < deadline; await new Promise((r) => setTimeout(r, 250)))
    if (await run()) return;
  assert.fail('did not recover in 15 s');
}

test('a dead S3: lookups still answer, restores and publishes fault soon, and all works again when it is back', async () => {
  const { store, engine } = bench.worker('s3-outage', { objects });
  const tenant = await tenantOf(store, await bench.organization());
  const { hashes } = chainOf(tenant, 4);
  const request = { tenant, hashes, firstBlock: 0, physicalBlocks: fillChain(engine, 4) };
  unwrap(await store.publish(request).done);
  const { slices } = unwrap(await store.lookup({ tenant, hashes }));

  await s3.kill();
  const restore = () => store.restoreRun({ tenant, slices, physicalBlocks: Uint32Array.of(0, 1, 2, 3) });
  const first = await restore();
  assert.deepEqual([first.blocks, first.fault?.kind], [0, 'unavailable']);
  const other = chainOf(tenant, 2, 2);
  const publishOther = () =>
    store.publish({ tenant, hashes: other.hashes, firstBlock: 0, physicalBlocks: fillChain(engine, 2) }).done;
  const publishMs = await timed(async () => assert.match(kindOf(await publishOther()), /unavailable|timeout/));
  assert.ok(publishMs < 5000, `a failing publish took ${publishMs} ms`);
  for (let tries = 0; tries < 6; tries++) await restore();
  assert.equal(store.stats().storeBreakerOpen, true);
  const refusedMs = await quickest(restore);
  assert.ok(refusedMs < 50, `while the breaker is open a restore fails at once, not in ${refusedMs} ms`);
  assert.equal(kindOf(await store.sweep()), 'unavailable');
  assert.equal(unwrap(await store.lookup({ tenant, hashes })).blockCount, 4, 'nothing was quarantined');

  await s3.restart();
  await eventually(async () => (await restore()).blocks === 4);
  assert.equal(unwrap(await publishOther()).written, 2);
  unwrap(await store.sweep());
});

test('a dead database: every call is a fault soon, and no call throws', async () => {
  const made = await bootstrapOrganization(client.db, {
    organization: 'D',
    ownerEmail: 'd@example.com',
    masterKey: MASTER_KEY,
  });
  const directory = createPostgresDirectory(client.db);
  const keyRing = createPostgresKeyRing(client.db, MASTER_KEY);
  const { store, engine } = bench.worker('database-outage', { directory, keyRing });
  const tenant = await tenantOf(store, made.organizationId);
  const { hashes } = chainOf(tenant, 2);
  const request = { tenant, hashes, firstBlock: 0, physicalBlocks: fillChain(engine, 2) };
  unwrap(await store.publish(request).done);
  const { slices } = unwrap(await store.lookup({ tenant, hashes }));

  await postgres.stop();
  const calls: ((kv: KvStore) => Promise<Outcome<unknown>>)[] = [
    (kv) => kv.lookup({ tenant, hashes }),
    (kv) => kv.publish({ ...request, hashes: chainOf(tenant, 2, 3).hashes }).done,
    (kv) => kv.leases.claim({ tenant, hashes, firstBlock: 0, progress: () => ({ computedBlocks: 0, blockMs: 1 }) }),
    (kv) => kv.leases.observe(tenant, hashes, 0),
    (kv) => kv.touch(tenant, hashes, 7200),
    (kv) => kv.remove(tenant, hashes),
    (kv) => kv.tenant('org_never_seen'),
    (kv) => kv.sweep(),
  ];
  for (const [index, call] of calls.entries()) {
    let kind = '';
    const ms = await timed(async () => {
      kind = kindOf(await call(store));
    });
    assert.match(kind, /unavailable|timeout/, `call ${index}`);
    assert.ok(ms < 7000, `call ${index} took ${ms} ms`);
  }
  const lookupMs = await quickest(() => store.lookup({ tenant, hashes }));
  assert.ok(lookupMs < 50, `while the breaker is open a lookup fails at once, not in ${lookupMs} ms`);

  const run = await store.restoreRun({ tenant, slices, physicalBlocks: Uint32Array.of(0, 1) });
  assert.equal(run.blocks, 2, 'what was looked up before can still be restored');
});
