import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chainHashes } from '@longshore/core';
import { insertDataKey, kvTotals, setQuota } from '@longshore/db';
import { rawSql } from '@longshore/db/testing';
import type { WorkerConfig } from './config.ts';
import { createMemoryObjectStore, type ObjectStore } from './kv/index.ts';
import { repositoryFile } from './testing/test-model.ts';
import {
  type Answer,
  MASTER_KEY,
  openWorkerBench,
  type RunningWorker,
  type WorkerBench,
} from './testing/worker-bench.ts';

/** Every reason for a miss, provoked for real: engines, Postgres and an object store, with the small model of the repository. */
const MODEL = repositoryFile('infra', 'fixture-model');
const PROBE = { cache: { read: true, write: false }, maxTokens: 1, sampling: { temperature: 0 } };
const DAY = "interval '1 day'";

let bench: WorkerBench;
let a: RunningWorker;
let folder: string;
let names = 0;
const worker = (changes: Partial<WorkerConfig> = {}, objects?: ObjectStore) =>
  bench.worker(`w${names++}`, { model: MODEL, ...changes }, objects);

before(async () => {
  bench = await openWorkerBench();
  a = await worker();
  folder = await mkdtemp(join(tmpdir(), 'longshore-other-model-'));
});
after(async () => {
  await bench.close();
  await rm(folder, { recursive: true, force: true });
});

/** Tokens of no other test: `seed` decides all of them. */
const tokensOf = (seed: number, count: number): number[] =>
  Array.from({ length: count }, (_, index) => 10 + (((Math.imul(index + 1, 2654435761) >>> 9) ^ (seed * 7919)) % 900));
const prompt = (tokens: readonly number[]) => ({ input: { kind: 'tokens', tokens } });

async function stored(seed: number, count = 400, on = a): Promise<number[]> {
  const tokens = tokensOf(seed, count);
  assert.equal((await on.generate({ ...prompt(tokens), maxTokens: 1 })).error, undefined);
  assert.ok(await on.worker.parts.kv.flush(20_000));
  return tokens;
}

const missOf = ({ done, error }: Answer) => {
  assert.ok(done, JSON.stringify(error));
  return [done.cache.missReason, done.cache.firstDivergentToken, done.cache.divergenceIsExact ?? true];
};

async function probe(tokens: readonly number[], on?: RunningWorker): Promise<unknown[]> {
  const fresh = on ?? (await worker());
  const miss = missOf(await fresh.generate({ ...prompt(tokens), ...PROBE }));
  if (on === undefined) await fresh.close();
  return miss;
}

const sql = (statement: string) => rawSql(bench.client.db, statement);
const hashesOf = async (tokens: readonly number[]) => {
  const tenant = await a.worker.parts.kv.tenant(bench.organizationId);
  assert.ok(tenant.ok);
  return { tenant: tenant.value, hashes: chainHashes(tenant.value.root, tokens) };
};
/** The first object of the prompt's chain, as an SQL condition on kv_objects. */
const firstObject = async (tokens: readonly number[]) => {
  const { hashes } = await hashesOf(tokens);
  return `key = (select object_key from kv_blocks where hash = '\\x${Buffer.from(hashes[0]!).toString('hex')}')`;
};

test('a prompt shorter than a block could never hit', async () => {
  assert.deepEqual(await probe(tokensOf(1, 100), a), ['below_one_block', 0, true]);
});

test('tokens that were never stored are a miss at the first of them', async () => {
  assert.deepEqual(await probe(tokensOf(2, 300), a), ['never_seen', 0, true]);
});

test('names the exact token at which a prompt leaves what is stored, on any worker and after restarts', async () => {
  const tokens = await stored(3);
  for (const at of [0, 1, 77, 127, 128, 200, 255]) {
    const other = [...tokens];
    other[at] = tokens[at] === 5 ? 6 : 5;
    assert.deepEqual(await probe(other, a), ['never_seen', at, true], `differs at ${at}`);
  }
  const early = [...tokens];
  early[99] = 5;
  assert.deepEqual(await probe(early), ['never_seen', 99, true], 'a worker that has never seen the prompt');
});

test('of several stored chains the nearest one counts', async () => {
  const tokens = await stored(4);
  const nearer = [...tokens];
  nearer[60] = 5;
  await a.generate({ ...prompt(nearer), maxTokens: 1 });
  assert.ok(await a.worker.parts.kv.flush(20_000));
  const asked = [...nearer];
  asked[110] = 7;
  assert.deepEqual(await probe(asked, a), ['never_seen', 110, true]);
});

test('where more chains branch off than are compared, the block is named and the index is said to be a lower bound', async () => {
  const tokens = tokensOf(5, 200);
  for (let branch = 0; branch < 34; branch++) {
    const other = [...tokens];
    other[10] = 200 + branch;
    await a.generate({ ...prompt(other), maxTokens: 1 });
  }
  assert.ok(await a.worker.parts.kv.flush(20_000));
  const asked = [...tokens];
  asked[10] = 5;
  const [reason, first, exact] = await probe(asked, a);
  assert.deepEqual([reason, exact], ['never_seen', false]);
  assert.ok((first as number) >= 0 && (first as number) <= 10, String(first));
});

test('what ran out says expired: as long as its row is there, after the sweep, and after its bytes are gone', async () => {
  const tokens = await stored(6);
  const object = await firstObject(tokens);
  await sql(`update kv_objects set expires_at = now() - ${DAY} where ${object}`);
  assert.deepEqual((await probe(tokens))[0], 'expired');
  await a.worker.parts.kv.sweep();
  assert.deepEqual((await probe(tokens))[0], 'expired');
  await sql(`update kv_objects set retired_at = now() - ${DAY} where ${object}`);
  await a.worker.parts.kv.sweep();
  const { hashes } = await hashesOf(tokens);
  const row = `select 1 from kv_blocks where hash = '\\x${Buffer.from(hashes[0]!).toString('hex')}'`;
  assert.equal((await sql(row)).length, 0, 'the row is gone');
  assert.deepEqual((await probe(tokens))[0], 'expired');
});

test('what was deleted says deleted, even after its bytes are gone', async () => {
  const deleted = await stored(7);
  const { tenant, hashes } = await hashesOf(deleted);
  assert.ok((await a.worker.parts.kv.remove(tenant, hashes)).ok);
  for (const round of ['row', 'gone']) {
    assert.equal((await probe(deleted))[0], 'deleted', round);
    await sql(`update kv_objects set retired_at = now() - ${DAY} where state = 'tombstone'`);
    await a.worker.parts.kv.sweep();
  }
});

test('what had to go for the organization’s quota says evicted, even after its bytes are gone', async () => {
  const organizationId = await bench.organization();
  const keep = async (seed: number) => {
    const tokens = tokensOf(seed, 400);
    await a.generate({ ...prompt(tokens), maxTokens: 1, organizationId });
    assert.ok(await a.worker.parts.kv.flush(20_000));
    return tokens;
  };
  const evicted = await keep(8);
  const { storedBytes } = await kvTotals(bench.client.db, organizationId);
  await setQuota(bench.client.db, organizationId, Math.floor(1.5 * storedBytes));
  await sql(`update kv_objects set last_used_at = now() - ${DAY} where organization_id = '${organizationId}'`);
  await keep(80);
  for (const round of ['row', 'gone']) {
    const fresh = await worker();
    const miss = missOf(await fresh.generate({ ...prompt(evicted), ...PROBE, organizationId }));
    assert.equal(miss[0], 'evicted', round);
    await fresh.close();
    await sql(`update kv_objects set retired_at = now() - ${DAY} where state = 'tombstone'`);
    await a.worker.parts.kv.sweep();
  }
});

test('a block that is stored again after it departed is a hit again', async () => {
  const tokens = await stored(9);
  const { tenant, hashes } = await hashesOf(tokens);
  await a.worker.parts.kv.remove(tenant, hashes);
  await sql(`update kv_objects set retired_at = now() - ${DAY} where state = 'tombstone'`);
  await a.worker.parts.kv.sweep();
  const b = await worker();
  assert.equal(missOf(await b.generate({ ...prompt(tokens), maxTokens: 1 }))[0], 'deleted');
  assert.ok(await b.worker.parts.kv.flush(20_000));
  const hit = await b.worker.parts.kv.lookup({ tenant, hashes });
  assert.ok(hit.ok && hit.value.endedBy === 'complete');
  await b.close();
});

test('a stored byte that lies says quarantined, to the reader that finds it and to the next', async () => {
  const objects = createMemoryObjectStore();
  const liar: ObjectStore = {
    ...objects,
    readInto: (key, target, options) =>
      objects.readInto(key, target, {
        ...options,
        onProgress: (filled) => {
          if (filled === target.length) target[filled - 1]! ^= 1;
          options?.onProgress?.(filled);
        },
      }),
  };
  const writer = await worker({}, objects);
  const tokens = await stored(10, 400, writer);
  const reader = await worker({}, liar);
  assert.equal(missOf(await reader.generate({ ...prompt(tokens), ...PROBE }))[0], 'quarantined');
  const next = await worker({}, liar);
  assert.equal(missOf(await next.generate({ ...prompt(tokens), ...PROBE }))[0], 'quarantined');
  for (const one of [writer, reader, next]) await one.close();
});

test('a cache that takes longer to load than to compute says so', async () => {
  const tokens = await stored(11, 300);
  const far: ObjectStore = {
    ...bench.objects,
    async readInto(key, target, options) {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      return bench.objects.readInto(key, target, options);
    },
  };
  const b = await worker({}, far);
  // Two seconds for what the small model computes in a few milliseconds; it has to have measured that once.
  await b.generate({ ...prompt(tokensOf(1100, 1500)), maxTokens: 1 });
  assert.equal((await probe(tokens, b))[0], 'load_slower_than_recompute');
  await b.close();
});

test('the same tokens stored for another model, codec or KV type say what changed', async () => {
  const tokens = await stored(12);
  const other = join(folder, 'model');
  await cp(MODEL, other, { recursive: true });
  const config = JSON.parse(await readFile(join(other, 'config.json'), 'utf8'));
  config.rope_parameters.rope_theta = 50_000;
  await writeFile(join(other, 'config.json'), JSON.stringify(config));
  for (const [changes, reason] of [
    [{ model: other }, 'model_changed'],
    [{ codec: 'raw' }, 'codec_changed'],
    [{ kvDtype: 'f32' }, 'codec_changed'],
  ] as const) {
    const changed = await worker(changes);
    assert.deepEqual(missOf(await changed.generate({ ...prompt(tokens), ...PROBE })), [reason, 0, true]);
    assert.equal((await probe(tokensOf(1200, 300), changed))[0], 'never_seen', 'only where the tokens are the same');
    await changed.close();
  }
});

test('a session whose identity changed while it slept is recomputed from its transcript, says what changed, and is a hit again', async () => {
  const session = await bench.session();
  await a.prefill({ session, ...prompt(tokensOf(13, 400)) });
  const more = { session, ...prompt([20, 21, 22]), maxTokens: 3, sampling: { temperature: 0 } };
  const b = await worker({ codec: 'raw' });
  const resumed = await b.generate(more);
  assert.deepEqual(missOf(resumed), ['codec_changed', 0, true]);
  assert.equal(resumed.done?.usage.cachedTokens, 0);
  const again = await b.generate(more);
  assert.deepEqual([again.done?.cache.missReason, again.done!.usage.cachedTokens >= 400], [undefined, true]);
  await b.close();
});

test('another organization’s cache is never looked at: its prompt was never stored', async () => {
  const tokens = await stored(14);
  const organizationId = await bench.organization();
  assert.deepEqual(missOf(await a.generate({ ...prompt(tokens), ...PROBE, organizationId })), ['never_seen', 0, true]);
  const nearly = [...tokens];
  nearly[50] = 5;
  assert.deepEqual(
    missOf(await a.generate({ ...prompt(nearly), ...PROBE, organizationId })),
    ['never_seen', 0, true],
    'nor is it told where another organization’s chain diverges',
  );
});

test('a rotated chain secret says that the tenant’s scope changed, and so does a destroyed key', async () => {
  const organizationId = await bench.organization();
  const tokens = tokensOf(15, 300);
  await a.generate({ ...prompt(tokens), maxTokens: 1, organizationId });
  assert.ok(await a.worker.parts.kv.flush(20_000));
  await sql(`update data_keys set retired_at = now() where organization_id = '${organizationId}'`);
  await insertDataKey(bench.client.db, Buffer.from(MASTER_KEY, 'hex'), organizationId);
  const b = await worker();
  assert.equal(missOf(await b.generate({ ...prompt(tokens), ...PROBE, organizationId }))[0], 'tenant_scope');
  await sql(`delete from data_keys where organization_id = '${organizationId}'`);
  const c = await worker();
  assert.equal(missOf(await c.generate({ ...prompt(tokens), ...PROBE, organizationId }))[0], 'tenant_scope');
  await b.close();
  await c.close();
});

test('every reason is counted in the metrics by its name', async () => {
  const metrics = await a.worker.metrics.render();
  for (const reason of ['below_one_block', 'never_seen'])
    assert.match(metrics, new RegExp(`longshore_worker_cache_total\\{[^}]*miss_reason="${reason}"[^}]*\\} [1-9]`));
});
