import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { GREEDY, PARAGRAPH, said } from './testing/prompts.ts';
import { openWorkerBench, POOL_TOKEN, type RunningWorker, type WorkerBench } from './testing/worker-bench.ts';

let bench: WorkerBench;
let a: RunningWorker;
before(async () => {
  bench = await openWorkerBench();
  a = await bench.worker('a');
});
after(() => bench.close());

let made = 0;
/** About 25 tokens a paragraph, unlike every other document. */
const document = (paragraphs: number) => `Report ${++made}. ${PARAGRAPH.repeat(paragraphs)}`;

test('answers with the same tokens cold, from the device, and from the store on another worker', async () => {
  const request = { input: said(`${document(30)} What did the keeper write?`), maxTokens: 12, ...GREEDY };
  const cold = await a.generate(request);
  assert.deepEqual([cold.done?.cache.decision, cold.done?.cache.missReason], ['compute', 'never_seen']);
  const warm = await a.generate(request);
  assert.equal(warm.done?.cache.tier, 'device');
  assert.deepEqual(warm.ids, cold.ids);
  assert.ok(await a.worker.parts.kv.flush(10_000));
  const b = await bench.worker('b');
  const restored = await b.generate(request);
  await b.close();
  assert.equal(restored.done?.cache.tier, 'disk');
  assert.deepEqual(restored.ids, cold.ids);
  const { usage, cache } = restored.done!;
  assert.equal(usage.cachedTokens, cache.blocksHit * 128);
  assert.ok(usage.cachedTokens > usage.promptTokens - 256);
});

test('one of many concurrent requests with the same prefix computes it', async () => {
  const prefix = document(30);
  const before = a.model.engine.stats().tokens;
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, index) =>
      a.generate({ input: said(`${prefix} ${index}?`), maxTokens: 4, ...GREEDY }),
    ),
  );
  const prompt = answers[0]!.done!.usage.promptTokens;
  for (const answer of answers) assert.equal(answer.status, 200);
  const computed = a.model.engine.stats().tokens - before;
  assert.ok(computed < 1.3 * prompt + 8 * (128 + 4), `computed ${computed} tokens for prompts of ${prompt}`);
  a.worker.parts.scheduler.checkIntegrity();
});

test('gives each of several different concurrent requests the answer it gets alone', async () => {
  const requests = [1, 2, 3, 4].map((index) => ({
    input: said(`${document(index * 4)} Tell me more.`),
    maxTokens: 10,
    cache: { read: false, write: false },
    ...GREEDY,
  }));
  const together = await Promise.all(requests.map((request) => a.generate(request)));
  for (const [index, request] of requests.entries()) {
    assert.deepEqual((await a.generate(request)).ids, together[index]!.ids);
  }
});

test('a seed draws the same tokens again, and a continuation goes on with them', async () => {
  const request = {
    input: said('Tell me a story.'),
    maxTokens: 16,
    sampling: { temperature: 1, seed: 7 },
    ignoreEos: true,
  };
  const whole = await a.generate(request);
  assert.equal(whole.ids.length, 16);
  assert.deepEqual((await a.generate(request)).ids, whole.ids);
  const rest = await a.generate({ ...request, continuation: { tokens: whole.ids.slice(0, 6) } });
  assert.deepEqual(rest.ids, whole.ids.slice(6));
  assert.equal(whole.text.endsWith(rest.text), true);
  const indexes = rest.events.flatMap((event) => (event.type === 'token' ? [event.index] : []));
  assert.deepEqual(indexes, [6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
  assert.deepEqual(rest.done?.usage, whole.done?.usage);
});

test('reports a drawn seed in accepted, so that another worker can continue', async () => {
  const request = { input: said('Hi'), maxTokens: 5, ignoreEos: true };
  const first = await a.generate(request);
  const accepted = first.events[0]!;
  assert.equal(accepted.type, 'accepted');
  const seed = accepted.type === 'accepted' ? accepted.seed : -1;
  assert.deepEqual((await a.generate({ ...request, sampling: { seed } })).ids, first.ids);
});

test('ends before a stop string and says which one it was', async () => {
  const request = { input: said('Tell me a story.'), maxTokens: 12, ignoreEos: true, ...GREEDY };
  const whole = await a.generate(request);
  const stop = whole.text.slice(9, 13);
  const stopped = await a.generate({ ...request, stop: [stop] });
  assert.equal(stopped.text, whole.text.slice(0, whole.text.indexOf(stop)));
  assert.deepEqual([stopped.done?.finishReason, stopped.done?.stopSequence], ['stop', stop]);
});

test('reports log-probabilities that belong to the tokens', async () => {
  const answer = await a.generate({
    input: said('Hi'),
    maxTokens: 3,
    ignoreEos: true,
    sampling: { temperature: 0, logprobs: true, topLogprobs: 3 },
  });
  for (const event of answer.events) {
    if (event.type !== 'token') continue;
    assert.equal(event.logprob?.id, event.id);
    assert.ok(event.logprob!.logprob <= 0);
    assert.equal(event.top?.length, 3);
    assert.equal(event.top![0]!.id, event.id, 'greedy draws the best');
  }
});

test('refuses what it cannot serve with a clear error and goes on', async () => {
  const long = await a.generate({ input: { kind: 'tokens', tokens: new Array(20_000).fill(1) } });
  assert.deepEqual([long.status, long.error?.code], [400, 'context_length_exceeded']);
  assert.match(long.error!.message, new RegExp(`${a.worker.parts.contextLimit} tokens.*20000 tokens`));
  const unknown = await a.generate({ model: 'other', input: said('x') });
  assert.deepEqual([unknown.status, unknown.error?.code], [404, 'model_not_found']);
  const wrong = await a.generate({ input: said('x'), sampling: { temperature: -1 } });
  assert.deepEqual([wrong.status, wrong.error?.param], [400, 'sampling.temperature']);
  const token = await a.generate({ input: { kind: 'tokens', tokens: [4_000_000_000] } });
  assert.equal(token.error?.code, 'invalid_request');
  const malformed = await a.post('/generate', '{"a":');
  assert.deepEqual(
    [malformed.status, ((await malformed.json()) as { error: { code: string } }).error.code],
    [400, 'malformed_json'],
  );
  const missing = await a.generate({ session: 'ses_none', input: said('x') });
  assert.deepEqual([missing.status, missing.error?.code], [404, 'not_found']);
  assert.equal((await a.generate({ input: said('x'), maxTokens: 1 })).status, 200);
});

test('lets nobody in without the pool token', async () => {
  for (const headers of [{}, { authorization: 'Bearer wrong' }, { authorization: 'Basic test' }]) {
    const response = await fetch(`${a.url}/stats`, { headers });
    assert.equal(response.status, 401);
  }
  assert.equal((await fetch(`${a.url}/healthz`)).status, 200);
});

test('shows metrics in the Prometheus format', async () => {
  await a.generate({ input: said('x'), maxTokens: 1 });
  const response = await fetch(`${a.url}/metrics`, {
    headers: { authorization: `Bearer ${POOL_TOKEN}` },
  });
  const text = await response.text();
  assert.match(text, /longshore_worker_requests_total\{kind="generate",code="ok"\} \d+/);
  assert.match(text, /longshore_worker_total_blocks \d+/);
});

test('without reading or writing, a request leaves nothing behind', async () => {
  const request = { input: said(document(12)), maxTokens: 2, cache: { read: false, write: false }, ...GREEDY };
  const published = a.worker.parts.kv.stats().publishedBlocks;
  const first = await a.generate(request);
  assert.equal(first.done?.cache.missReason, 'reading_disabled');
  const second = await a.generate({ ...request, cache: { read: true, write: false } });
  assert.equal(second.done?.usage.cachedTokens, 0);
  assert.equal(a.worker.parts.kv.stats().publishedBlocks, published);
});

test('shares nothing between organizations', async () => {
  const request = { input: said(document(12)), maxTokens: 2, ...GREEDY };
  await a.generate(request);
  const other = await a.generate({ ...request, organizationId: await bench.organization() });
  assert.equal(other.done?.usage.cachedTokens, 0);
});
