import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { rawSql } from '@longshore/db/testing';
import { EdgeHarness } from '../testing/edge-harness.ts';
import { type FakeWorker, type Fault, refuse, wordAt } from '../testing/fake-worker.ts';
import { eventually, jsonOf, readChunks, readSse } from '../testing/sse.ts';

let edge: EdgeHarness;
let a: FakeWorker;
let b: FakeWorker;
const CHAT = '/v1/chat/completions';
const hello = { model: 'tiny', messages: [{ role: 'user', content: 'Hello there' }], max_tokens: 6 };
const words = (seed: number, count: number) =>
  Array.from({ length: count }, (_, index) => wordAt(seed, index)).join('');

before(async () => {
  edge = await EdgeHarness.start();
  a = await edge.addWorker('a');
  b = await edge.addWorker('b');
});
beforeEach(async () => {
  await edge.settle();
  for (const worker of [a, b]) {
    worker.fault = undefined;
    worker.pace = 0;
    worker.calls.length = 0;
    worker.cancelled.length = 0;
    worker.epoch = crypto.randomUUID();
    edge.pool.heartbeat(worker.beat(), Date.now());
  }
});
after(() => edge.stop());

/** Both workers take turns in failing: the first call anywhere meets `fault`, later ones are served. */
function firstCall(fault: Fault): void {
  let met = false;
  const once: Fault = (call, response, send) => {
    if (met) return false;
    met = true;
    return fault(call, response, send);
  };
  a.fault = once;
  b.fault = once;
}

const dieAfter =
  (tokens: number, seed = 42): Fault =>
  (call, response, send) => {
    send({ type: 'accepted', requestId: call.body.requestId, workerId: 'dying', promptTokens: 2, seed });
    for (let index = 0; index < tokens; index++) send(a.token(call.body, seed, index));
    setTimeout(() => response.destroy(), 20);
    return true;
  };

const calls = () => [...a.calls, ...b.calls];

test('a worker that breaks the connection before its first event is replaced by the next', async () => {
  firstCall((_, response) => {
    response.destroy();
    return true;
  });
  const body = await jsonOf(await edge.post(CHAT, { ...hello, seed: 4 }));
  assert.equal(body.choices[0].message.content, words(4, 6));
  assert.equal(body.longshore.workers_lost, 1);
  assert.equal(calls().length, 2);
  assert.equal(calls()[1]!.body.continuation, undefined);
});

test('a worker that died in mid-stream is continued elsewhere with the same seed, and the client sees nothing of it', async () => {
  for (const cut of [0, 1, 3, 6]) {
    a.calls.length = 0;
    b.calls.length = 0;
    for (const worker of [a, b]) {
      worker.epoch = crypto.randomUUID();
      edge.pool.heartbeat(worker.beat(), Date.now());
    }
    firstCall(dieAfter(cut));
    const request = { ...hello, stream: true, stream_options: { include_usage: true }, return_token_ids: true };
    const chunks = await readChunks(await edge.post(CHAT, request));
    const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
    assert.equal(text, words(42, 6), `cut after ${cut}`);
    assert.deepEqual(
      chunks.flatMap((chunk) => chunk.choices[0]?.token_ids ?? []),
      [100, 101, 102, 103, 104, 105],
    );
    assert.equal(chunks.at(-1).usage.completion_tokens, 6);
    const second = calls().find((call) => call.body.continuation !== undefined)!;
    assert.equal(second.body.sampling.seed, 42);
    assert.deepEqual(second.body.continuation!.tokens, [100, 101, 102, 103, 104, 105].slice(0, cut));
    assert.equal(second.body.requestId, calls()[0]!.body.requestId);
  }
});

test('an error event of a failed worker moves the request, a refusal of the request does not', async () => {
  firstCall((call, response, send) => {
    send({ type: 'accepted', requestId: call.body.requestId, workerId: 'x', promptTokens: 2, seed: 1 });
    send({ type: 'error', error: { code: 'worker_failed', message: 'the engine died' } });
    response.end();
    return true;
  });
  assert.equal((await jsonOf(await edge.post(CHAT, hello))).choices[0].message.content, words(1, 6));

  a.calls.length = 0;
  b.calls.length = 0;
  firstCall((_, response) => {
    refuse(response, 400, {
      code: 'context_length_exceeded',
      message: '9000 tokens, the model takes 2048',
      param: 'messages',
    });
    return true;
  });
  const response = await edge.post(CHAT, { ...hello, stream: true });
  assert.equal(response.status, 400);
  const { error } = await jsonOf(response);
  assert.deepEqual([error.code, error.param], ['context_length_exceeded', 'messages']);
  assert.equal(calls().length, 1);
});

test('an overloaded worker passes the request on; when all are, the client gets 429 with Retry-After', async () => {
  const overloaded: Fault = (_, response) => {
    refuse(response, 429, { code: 'overloaded', message: 'the queue is full', retryAfterSeconds: 7 });
    return true;
  };
  firstCall(overloaded);
  assert.equal((await edge.post(CHAT, hello)).status, 200);
  a.fault = overloaded;
  b.fault = overloaded;
  const response = await edge.post(CHAT, hello);
  assert.equal(response.status, 429);
  assert.equal(response.headers.get('retry-after'), '7');
  assert.equal((await jsonOf(response)).error.type, 'rate_limit_error');
});

test('with every worker dead the answer is 502, and the usage row says so', async () => {
  a.fault = (_, response) => {
    response.destroy();
    return true;
  };
  b.fault = a.fault;
  const response = await edge.post(CHAT, hello);
  assert.equal(response.status, 502);
  assert.equal((await jsonOf(response)).error.code, 'worker_failed');
  assert.equal(calls().length, 2);
  await edge.settle();
  const id = response.headers.get('x-request-id');
  const [row] = await rawSql(edge.db, `select status, completion_tokens from usage where request_id = '${id}'`);
  assert.deepEqual(row, { status: 'worker_failed', completion_tokens: 0 });
});

test('a request waits in mid-stream for a restarted worker when none is left', async () => {
  edge.pool.heartbeat(b.beat({ state: 'draining' }), Date.now());
  firstCall(dieAfter(2));
  setTimeout(() => {
    a.epoch = 'restarted';
    edge.pool.heartbeat(a.beat(), Date.now());
  }, 600);
  const chunks = await readChunks(await edge.post(CHAT, { ...hello, stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join(''), words(42, 6));
});

test('a failure that nobody can take over ends the stream with an error and without [DONE]', async () => {
  firstCall((call, response, send) => {
    send({ type: 'accepted', requestId: call.body.requestId, workerId: 'x', promptTokens: 2, seed: 1 });
    send(a.token(call.body, 1, 0));
    send({ type: 'error', error: { code: 'internal', message: 'a bug' } });
    response.end();
    return true;
  });
  const response = await edge.post(CHAT, { ...hello, stream: true });
  assert.equal(response.status, 200);
  const events = await readSse(response);
  assert.equal(JSON.parse(events.at(-1)!.data).error.code, 'internal');
});

test('a client that leaves a stream stops the work: the connection is closed and the request cancelled by name', async () => {
  a.pace = 20;
  b.pace = 20;
  const response = await edge.post(CHAT, { ...hello, max_tokens: 10_000, stream: true });
  const reader = response.body!.getReader();
  for (let count = 0; count < 4; count++) await reader.read();
  await reader.cancel();
  const [call] = calls();
  await eventually('the worker sees the connection closed', () => call!.aborted, 1000);
  await eventually('the worker is told', () => [...a.cancelled, ...b.cancelled].includes(call!.body.requestId), 1000);
  await edge.settle();
  const id = response.headers.get('x-request-id');
  const [row] = await rawSql(
    edge.db,
    `select status, completion_tokens > 0 as some from usage where request_id = '${id}'`,
  );
  assert.deepEqual(row, { status: 'cancelled', some: true });
});

test('a client that hangs up on an unstreamed answer stops the work, all choices of it', async () => {
  a.pace = 20;
  b.pace = 20;
  const client = new AbortController();
  const pending = edge.post(CHAT, { ...hello, n: 3, max_tokens: 10_000 }, { signal: client.signal });
  await eventually('three sequences run', () => calls().length === 3);
  client.abort();
  await (await pending).text();
  await eventually('all are stopped', () => calls().every((call) => call.aborted), 1000);
  await eventually('all are told', () => new Set([...a.cancelled, ...b.cancelled]).size === 3, 1000);
});

test('a silent worker keeps the stream alive with comments until it speaks', async () => {
  firstCall(async (call, _response, send) => {
    send({ type: 'accepted', requestId: call.body.requestId, workerId: 'slow', promptTokens: 2, seed: 42 });
    await new Promise((resolve) => setTimeout(resolve, 1200));
    return false;
  });
  const text = await (await edge.post(CHAT, { ...hello, stream: true })).text();
  assert.ok(text.split(': keep-alive').length >= 3, text.slice(0, 200));
  assert.match(text, /\[DONE\]/);
});

test('a request past its deadline is ended with 504 and cancelled on the worker', async () => {
  a.pace = 50;
  b.pace = 50;
  const fetch = edge.fresh({ LONGSHORE_REQUEST_TIMEOUT_MS: '1000' });
  const response = await fetch(CHAT, { method: 'POST', body: JSON.stringify({ ...hello, max_tokens: 1000 }) });
  assert.equal(response.status, 504);
  assert.equal((await jsonOf(response)).error.code, 'timeout');
  assert.equal([...a.cancelled, ...b.cancelled].length, 1);
});

test('records one usage row with what was used and from where', async () => {
  a.cachedTokens = 2;
  b.cachedTokens = 2;
  const response = await edge.post(CHAT, hello);
  await response.text();
  await edge.settle();
  const id = response.headers.get('x-request-id');
  const [row] = await rawSql(edge.db, `select * from usage where request_id = '${id}'`);
  assert.equal(row!.status, 'ok');
  assert.equal(row!.api_key_id, edge.organization.apiKeyId);
  assert.equal(row!.endpoint, CHAT);
  assert.deepEqual([row!.prompt_tokens, row!.cached_tokens, row!.completion_tokens, row!.tier], [2, 2, 6, 's3']);
  assert.ok(Number(row!.ttft_ms) > 0 && Number(row!.total_ms) >= Number(row!.ttft_ms));
  a.cachedTokens = 0;
  b.cachedTokens = 0;
});
