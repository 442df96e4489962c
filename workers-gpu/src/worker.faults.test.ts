import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { loadSession } from '@longshore/db';
import { createMemoryObjectStore, type ObjectStore } from './kv/index.ts';
import { GREEDY, PARAGRAPH, said } from './testing/prompts.ts';
import { openWorkerBench, type RunningWorker, type WorkerBench } from './testing/worker-bench.ts';

let bench: WorkerBench;
before(async () => {
  bench = await openWorkerBench();
});
after(() => bench.close());

const uncached = { cache: { read: false, write: false } };

/** A store that answers every call with an error, as a dead S3 does, once `dead` is set; and flips a bit of what it gives when told. */
class FaultyStore implements ObjectStore {
  readonly tier = 's3';
  dead = false;
  flipBits = false;
  private readonly inner = createMemoryObjectStore();

  private async alive(): Promise<void> {
    if (this.dead) throw new Error('connect ECONNREFUSED');
  }
  async put(...call: Parameters<ObjectStore['put']>): Promise<void> {
    await this.alive();
    await this.inner.put(...call);
  }
  async head(...call: Parameters<ObjectStore['head']>) {
    await this.alive();
    return this.inner.head(...call);
  }
  async readInto(key: string, target: Uint8Array, options?: Parameters<ObjectStore['readInto']>[2]): Promise<void> {
    await this.alive();
    const onProgress = (filled: number) => {
      if (this.flipBits && filled === target.length) target[filled - 1]! ^= 1;
      options?.onProgress?.(filled);
    };
    await this.inner.readInto(key, target, { ...options, onProgress });
  }
  async list(...call: Parameters<ObjectStore['list']>) {
    await this.alive();
    return this.inner.list(...call);
  }
  async delete(key: string): Promise<void> {
    await this.alive();
    await this.inner.delete(key);
  }
  async close(): Promise<void> {
    await this.inner.close();
  }
}

test('with a dead object store a session is still created and resumed, slower, with the reason', async () => {
  const store = new FaultyStore();
  store.dead = true;
  const a = await bench.worker('dead-a', {}, store);
  const session = await bench.session();
  const created = await a.prefill({ session, input: said(`A. ${PARAGRAPH.repeat(12)}`) });
  assert.equal(created.done?.type, 'done');
  assert.equal((await loadSession(bench.client.db, bench.organizationId, session))?.status, 'ready');
  const b = await bench.worker('dead-b', {}, store);
  const turn = await b.generate({ session, input: said('What?'), maxTokens: 6, ...GREEDY });
  assert.equal(turn.done?.cache.tier, 'none');
  assert.ok(turn.done?.cache.missReason !== undefined);
  assert.equal(turn.done?.cache.firstDivergentToken, 0);
  await a.close();
  await b.close();
});

test('a store that dies between publish and restore costs time, never the answer', async () => {
  const store = new FaultyStore();
  const a = await bench.worker('dies-a', {}, store);
  const request = { input: said(`B. ${PARAGRAPH.repeat(13)}`), maxTokens: 6, ...GREEDY };
  const cold = await a.generate(request);
  assert.ok(await a.worker.parts.kv.flush(10_000));
  store.dead = true;
  const b = await bench.worker('dies-b', {}, store);
  const answer = await b.generate(request);
  assert.deepEqual(answer.ids, cold.ids);
  assert.deepEqual([answer.done?.cache.tier, answer.done?.cache.missReason], ['none', 'store_unavailable']);
  await a.close();
  await b.close();
});

test('a stored block with a flipped bit is quarantined and recomputed', async () => {
  const store = new FaultyStore();
  const a = await bench.worker('flip-a', {}, store);
  const request = { input: said(`C. ${PARAGRAPH.repeat(14)}`), maxTokens: 6, ...GREEDY };
  const cold = await a.generate(request);
  assert.ok(await a.worker.parts.kv.flush(10_000));
  store.flipBits = true;
  const b = await bench.worker('flip-b', {}, store);
  const answer = await b.generate(request);
  assert.deepEqual(answer.ids, cold.ids);
  assert.equal(answer.done?.cache.missReason, 'quarantined');
  assert.ok(b.worker.parts.kv.stats().quarantinedObjects > 0);
  await a.close();
  await b.close();
});

test('two workers asked for the same prefix at once: one computes it, the other restores it', async () => {
  const [a, b] = [await bench.worker('lease-a'), await bench.worker('lease-b')];
  await Promise.all([a, b].map((one) => one.generate({ input: said(`warm ${PARAGRAPH.repeat(6)}`), maxTokens: 1 })));
  const computedBefore = b.model.engine.stats().tokens;
  const request = { input: said(`Only once. ${PARAGRAPH.repeat(40)}`), maxTokens: 4, ignoreEos: true, ...GREEDY };
  const first = a.generate({ ...request, requestId: 'first', maxTokens: 5000 });
  while (a.worker.stats().load.running === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  const two = await b.generate(request);
  const { cancelled } = (await (await a.post('/cancel', { requestId: 'first' })).json()) as { cancelled: number };
  assert.equal(cancelled, 1, 'the second waited for the prefill of the first, not for its answer');
  assert.deepEqual((await first).ids.slice(0, 4), two.ids);
  const computed = b.model.engine.stats().tokens - computedBefore;
  assert.ok(computed < 128 + 8, `the second worker computed ${computed} tokens`);
  assert.equal(two.done?.cache.tier, 'disk');
  await a.close();
  await b.close();
});

test('requests that outgrow the pool are preempted and still answer as they do alone', async () => {
  const probe = await bench.worker('probe');
  const blockBytes = probe.worker.stats().blocks.bytesPerBlock;
  await probe.close();
  const small = await bench.worker('small', { kvBytes: 5 * blockBytes });
  // Two blocks each, and a third one needed soon: two of them fit at first, and cannot both go on.
  const requests = [3, 5, 7].map((stride) => ({
    input: { kind: 'tokens', tokens: Array.from({ length: 230 }, (_, index) => 20 + ((index * stride) % 900)) },
    maxTokens: 80,
    ignoreEos: true,
    ...uncached,
    ...GREEDY,
  }));
  const together = await Promise.all(requests.map((request) => small.generate(request)));
  small.worker.parts.scheduler.checkIntegrity();
  const metrics = await small.worker.metrics.render();
  assert.match(metrics, /longshore_worker_preemptions_total [1-9]/);
  for (const [index, request] of requests.entries()) {
    assert.deepEqual((await small.generate(request)).ids, together[index]!.ids);
  }
  assert.equal(small.worker.stats().blocks.available, 5);
  await small.close();
});

test('without a database plain requests are answered uncached, and sessions say why not', async () => {
  const own = await openWorkerBench();
  const worker: RunningWorker = await own.worker('orphan');
  await own.client.close();
  const request = { input: said(PARAGRAPH.repeat(7)), maxTokens: 4, ...GREEDY };
  const answer = await worker.generate(request);
  assert.equal(answer.done?.cache.missReason, 'store_unavailable');
  const session = await worker.generate({ ...request, session: 'ses_x' });
  assert.deepEqual([session.status, session.error?.code], [503, 'database_unavailable']);
  await own.close();
});
