import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type CacheIdentity, chainHashes, namespaceOf } from '@longshore/core';
import { rawSql } from '@longshore/db/testing';
import { createPostgresMissRecords } from './adapters/postgres-miss-records.ts';
import type { Outcome } from './outcome.ts';
import { type MissRecords, StoreError } from './ports.ts';
import { chainOf, fillChain, IDENTITY, type KvBench, openKvBench, tenantOf } from './testing/kv-bench.ts';

let bench: KvBench;
before(async () => {
  bench = await openKvBench();
});
after(() => bench.close());

function unwrap<T>(outcome: Outcome<T>): T {
  assert.ok(outcome.ok, outcome.ok ? '' : outcome.fault.message);
  return outcome.value;
}

/** A worker that runs under this identity and has said so. */
function workerUnder(identity: CacheIdentity, records: MissRecords = createPostgresMissRecords(bench.client.db)) {
  const name = `w-${JSON.stringify(identity).length}-${Math.random()}`;
  const { store, engine } = bench.worker(name, { namespace: namespaceOf(identity), diagnosis: { records, identity } });
  return { store, engine };
}

async function stored(organizationId: string, seed: number, tokens = true) {
  const { store, engine } = workerUnder(IDENTITY);
  await createPostgresMissRecords(bench.client.db).noteNamespace(store.namespace, IDENTITY);
  const tenant = await tenantOf(store, organizationId);
  const chain = chainOf(tenant, 3, seed);
  const physicalBlocks = fillChain(engine, 3);
  const request = { tenant, hashes: chain.hashes, firstBlock: 0, physicalBlocks };
  unwrap(await store.publish({ ...request, ...(tokens ? { tokens: chain.tokens } : {}) }).done);
  return { store, tenant, chain };
}

test('the same tokens under another policy, numerics, codec or model are named, with the weightiest difference', async () => {
  const organizationId = await bench.organization();
  const { chain } = await stored(organizationId, 1);
  for (const [change, reason] of [
    [{ policy: { prefill: 'block_energy', density: 20 } }, 'policy_changed'],
    [{ numerics: 'fake-2' }, 'numerics_changed'],
    [{ codec: 'raw' }, 'codec_changed'],
    [{ weights: 'sha256:22', numerics: 'fake-2' }, 'model_changed'],
  ] as const) {
    const { store } = workerUnder({ ...IDENTITY, ...change });
    const tenant = await tenantOf(store, organizationId);
    const hashes = chainHashes(tenant.root, chain.tokens);
    const explained = unwrap(await store.explain({ tenant, hashes, index: 0, tokens: chain.tokens }));
    assert.equal(explained?.reason, reason);
    const former = { formerNamespace: namespaceOf(IDENTITY) };
    const named = unwrap(await store.explain({ tenant, hashes, index: 0, tokens: chain.tokens, ...former }));
    assert.equal(named?.reason, reason, 'also where the caller knows the former namespace');
  }
});

test('a former namespace that no one recorded is only known to be another one', async () => {
  const organizationId = await bench.organization();
  const { store, tenant, chain } = await stored(organizationId, 2);
  const formerNamespace = new Uint8Array(32).fill(7);
  const explained = unwrap(
    await store.explain({ tenant, hashes: chain.hashes, index: 0, tokens: chain.tokens, formerNamespace }),
  );
  assert.equal(explained?.reason, 'identity_changed');
});

test('token ids lie in the database sealed, and only for their own block', async () => {
  const organizationId = await bench.organization();
  const { tenant, chain, store } = await stored(organizationId, 3);
  const rows = (await bench.blockRows()).filter((row) => row.organizationId === organizationId);
  assert.equal(rows.length, 3);
  const plain = Buffer.alloc(512);
  for (let index = 0; index < 128; index++) plain.writeUInt32LE(chain.tokens[index]!, 4 * index);
  for (const row of rows) assert.equal(Buffer.from(row.sealedTokens!).indexOf(plain.subarray(0, 16)), -1);

  const other = [...chain.tokens];
  other[130] = 1;
  const asked = { tenant, hashes: chainHashes(tenant.root, other), index: 1, tokens: other };
  assert.deepEqual(unwrap(await store.explain(asked)), {
    reason: 'never_seen',
    firstDivergentToken: 130,
    isExact: true,
  });
  await rawSql(
    bench.client.db,
    `update kv_blocks as b set sealed_tokens = (select sealed_tokens from kv_blocks as o
      where o.organization_id = b.organization_id and o.block_index = 2)
    where b.organization_id = '${organizationId}' and b.block_index = 1`,
  );
  assert.deepEqual(unwrap(await store.explain(asked)), {
    reason: 'never_seen',
    firstDivergentToken: 128,
    isExact: false,
  });
});

test('a chain that was stored without tokens gives the block, and says that this is a lower bound', async () => {
  const organizationId = await bench.organization();
  const { store, tenant, chain } = await stored(organizationId, 4, false);
  const other = [...chain.tokens];
  other[200] = 1;
  const explained = unwrap(
    await store.explain({ tenant, hashes: chainHashes(tenant.root, other), index: 1, tokens: other }),
  );
  assert.deepEqual(explained, { reason: 'never_seen', firstDivergentToken: 128, isExact: false });
});

test('departures are forgotten after their time, a bounded number at once', async () => {
  const organizationId = await bench.organization();
  const { store, tenant, chain } = await stored(organizationId, 5);
  unwrap(await store.remove(tenant, chain.hashes));
  unwrap(await store.sweep());
  const ask = async () =>
    unwrap(await store.explain({ tenant, hashes: chain.hashes, index: 0, tokens: chain.tokens }))?.reason;
  assert.equal(await ask(), 'deleted');
  const records = createPostgresMissRecords(bench.client.db);
  await rawSql(bench.client.db, `update kv_departures set departed_at = now() - interval '31 days'`);
  assert.equal(await records.forgetDepartures(30 * 86_400, 2), 2);
  assert.equal(await records.forgetDepartures(30 * 86_400, 500), 1);
  assert.equal(await ask(), 'never_seen');
});

test('a database that does not answer is a fault, never a wrong reason', async () => {
  const organizationId = await bench.organization();
  const refuse = () => Promise.reject(new StoreError('unavailable', 'down'));
  const records: MissRecords = {
    ...createPostgresMissRecords(bench.client.db),
    findSiblings: refuse,
    findDeparture: refuse,
  };
  const { store } = workerUnder(IDENTITY, records);
  const tenant = await tenantOf(store, organizationId);
  const chain = chainOf(tenant, 1, 6);
  const outcome = await store.explain({ tenant, hashes: chain.hashes, index: 0, tokens: chain.tokens });
  assert.equal(outcome.ok || outcome.fault.kind, 'unavailable');
});
