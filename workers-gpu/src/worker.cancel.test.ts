import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { MODEL_ID, openWorkerBench, type RunningWorker, readAnswer, type WorkerBench } from './testing/worker-bench.ts';

let bench: WorkerBench;
let a: RunningWorker;
before(async () => {
  bench = await openWorkerBench();
  a = await bench.worker('a');
});
after(() => bench.close());

const long = (requestId: string) => ({
  requestId,
  organizationId: bench.organizationId,
  model: MODEL_ID,
  input: { kind: 'text', text: 'Once upon a time ' },
  maxTokens: 2000,
  ignoreEos: true,
});

async function idleWithin(ms: number): Promise<number> {
  const started = performance.now();
  for (;;) {
    const { load, requests } = a.worker.stats();
    const took = performance.now() - started;
    if (load.running === 0 && load.waiting === 0 && requests === 0) return took;
    assert.ok(took < ms, `still busy after ${Math.round(took)} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function firstChunk(response: Response): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const reader = response.body!.getReader();
  const { value } = await reader.read();
  assert.match(new TextDecoder().decode(value), /accepted/);
  return reader;
}

test('the engine is idle within a second after the client went away', async () => {
  const controller = new AbortController();
  const response = await a.post('/generate', long('gone'), controller.signal);
  const reader = await firstChunk(response);
  await reader.read();
  assert.equal(a.worker.stats().requests, 1);
  controller.abort();
  await idleWithin(1000);
  a.worker.parts.scheduler.checkIntegrity();
});

test('a client that goes away during a long prefill aborts it', async () => {
  const controller = new AbortController();
  const request = { ...long('prefill'), input: { kind: 'text', text: 'tide and light '.repeat(1500) } };
  const response = await a.post('/generate', request, controller.signal);
  const reader = response.body!.getReader();
  for (let seen = ''; !seen.includes('"done":512'); ) {
    const { value, done } = await reader.read();
    assert.equal(done, false, 'the prefill is long enough to be interrupted');
    seen += new TextDecoder().decode(value);
  }
  controller.abort();
  await idleWithin(1000);
  const { tokens } = a.model.engine.stats();
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(a.model.engine.stats().tokens, tokens, 'nothing is computed for nobody');
});

test('cancel ends the stream with an error event and leaves the others running', async () => {
  const responses = await Promise.all([
    a.post('/generate', long('x')),
    a.post('/generate', { ...long('y'), maxTokens: 30 }),
  ]);
  const answers = responses.map((response) => readAnswer(response));
  const cancelled = (await (await a.post('/cancel', { requestId: 'x' })).json()) as { cancelled: number };
  assert.equal(cancelled.cancelled, 1);
  const [x, y] = await Promise.all(answers);
  assert.equal(x!.error?.code, 'cancelled');
  assert.equal(y!.ids.length, 30);
  const unknown = await a.post('/cancel', { requestId: 'never' });
  assert.deepEqual(await unknown.json(), { cancelled: 0 });
});

test('a deadline ends the request with a timeout', async () => {
  const answer = await readAnswer(await a.post('/generate', { ...long('late'), deadline: Date.now() + 300 }));
  assert.equal(answer.error?.code, 'timeout');
  await idleWithin(1000);
});

test('answers overloaded with Retry-After when it holds as many requests as it may', async () => {
  const small = await bench.worker('small', { maxRunning: 1, maxWaiting: 1 });
  const controller = new AbortController();
  const held = [
    await small.post('/generate', long('one'), controller.signal),
    await small.post('/generate', long('two'), controller.signal),
  ];
  const refused = await small.post('/generate', long('three'));
  assert.equal(refused.status, 429);
  assert.ok(Number(refused.headers.get('retry-after')) >= 1);
  assert.equal((await readAnswer(refused)).error?.code, 'overloaded');
  controller.abort();
  await Promise.allSettled(held.map((response) => response.text()));
  await small.close();
});

test('draining finishes what runs and refuses what comes', async () => {
  const draining = await bench.worker('draining');
  const running = draining.post('/generate', { ...long('last'), maxTokens: 25 }).then(readAnswer);
  while (draining.worker.stats().load.running === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const drained = draining.post('/drain', {});
  while (draining.worker.state !== 'draining') await new Promise((resolve) => setTimeout(resolve, 2));
  const refused = await draining.post('/generate', long('late'));
  assert.equal(refused.status, 503);
  assert.equal((await readAnswer(refused)).error?.code, 'draining');
  assert.equal((await running).ids.length, 25);
  assert.deepEqual(await (await drained).json(), { drained: true });
  await draining.close();
});
