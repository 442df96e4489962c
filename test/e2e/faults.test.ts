import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { createDatabase, listApiKeys, revokeApiKey } from '@longshore/db';
import { startTestPlatform, type TestPlatform } from '../harness/platform.ts';
import { untilIdle } from './engine-idle.ts';

/** Everything that can be wrong with a request or be taken away from the platform; after each, it still serves. */
let platform: TestPlatform;
let model: string;

before(async () => {
  platform = await startTestPlatform({ model: 'smollm2' });
  model = platform.model.name;
});
after(() => platform?.[Symbol.asyncDispose]());

function post(path: string, body: unknown, apiKey = platform.apiKey): Promise<Response> {
  return fetch(`${platform.baseUrl}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

const chat = (content: string, fields: Record<string, unknown> = {}) =>
  post('/chat/completions', { model, messages: [{ role: 'user', content }], max_tokens: 4, ...fields });

async function expectError(response: Response, status: number, code: string) {
  const text = await response.text();
  assert.equal(response.status, status, text);
  const { error } = JSON.parse(text);
  assert.equal(error.code, code);
  assert.ok(error.message.length > 10);
  assert.match(response.headers.get('x-request-id')!, /^req_/);
  return error;
}

async function expectServing(): Promise<void> {
  const response = await chat('Hello');
  const text = await response.text();
  assert.equal(response.status, 200, text);
  assert.ok(JSON.parse(text).usage.completion_tokens > 0);
}

afterEach(async () => {
  await expectServing();
  await untilIdle(platform, 2000);
});

test('a prompt longer than the model’s context is refused with both numbers', async () => {
  for (const stream of [false, true]) {
    const { message } = await expectError(
      await chat('word '.repeat(20_000), { stream }),
      400,
      'context_length_exceeded',
    );
    assert.equal(message.match(/\d{4,}/g).length, 2, message);
  }
});

test('a wrong key is refused', async () => {
  const last = platform.apiKey.at(-1) === 'A' ? 'B' : 'A';
  await expectError(
    await post('/chat/completions', {}, `${platform.apiKey.slice(0, -1)}${last}`),
    401,
    'invalid_api_key',
  );
  await expectError(await post('/chat/completions', {}, 'sk-something'), 401, 'invalid_api_key');
});

test('a revoked key is refused within five seconds', async () => {
  const key = await platform.createKey('to be revoked');
  const models = () => fetch(`${platform.baseUrl}/models`, { headers: { authorization: `Bearer ${key}` } });
  assert.equal((await models()).status, 200);
  const { db, close } = createDatabase(platform.databaseUrl, { max: 1 });
  try {
    const listed = await listApiKeys(db, platform.access.organizationId);
    const { id } = listed.find(({ name }) => name === 'to be revoked')!;
    assert.equal(await revokeApiKey(db, platform.access.organizationId, id), true);
  } finally {
    await close();
  }
  const revoked = performance.now();
  await until(async () => (await models()).status === 401, 5000);
  assert.ok(performance.now() - revoked < 5000);
});

test('an unknown model is refused', async () => {
  const error = await expectError(await chat('Hi', { model: 'gpt-none' }), 404, 'model_not_found');
  assert.equal(error.param, 'model');
});

test('malformed JSON is refused with its place', async () => {
  const error = await expectError(await post('/chat/completions', '{"model": "x", }'), 400, 'malformed_json');
  assert.match(error.message, /position 15/);
});

test('a 10 MB body is refused', async () => {
  await expectError(await chat('x'.repeat(10_000_000)), 413, 'body_too_large');
});

test('unknown paths and methods are refused as JSON', async () => {
  await expectError(await post('/nothing', {}), 404, 'not_found');
  const headers = { authorization: `Bearer ${platform.apiKey}` };
  const response = await fetch(`${platform.baseUrl}/chat/completions`, { headers });
  assert.equal(response.headers.get('allow'), 'POST');
  await expectError(response, 405, 'invalid_request');
});

test('a dead database is 503 with Retry-After, never a pass, and service resumes with it', async () => {
  const key = await platform.createKey('unseen');
  await platform.stopDatabase();
  try {
    const response = await post('/chat/completions', { model, messages: [{ role: 'user', content: 'Hi' }] }, key);
    assert.ok(Number(response.headers.get('retry-after')) >= 1);
    await expectError(response, 503, 'database_unavailable');
    assert.equal((await fetch(`${platform.url}/readyz`)).status, 503);
    assert.equal((await fetch(`${platform.url}/healthz`)).status, 200);
  } finally {
    await platform.startDatabase();
  }
  await until(async () => (await fetch(`${platform.url}/readyz`)).ok);
  assert.equal(
    (await post('/chat/completions', { model, messages: [{ role: 'user', content: 'Hi' }], max_tokens: 2 }, key))
      .status,
    200,
  );
});

test('a dead S3 only makes answers slower: prompts are computed instead of restored', async () => {
  const prompt = 'The ferry leaves at noon and comes back at night. '.repeat(40);
  const before = await (await chat(prompt)).json();
  await platform.stopObjectStore();
  try {
    const warm = await chat(`${prompt}When?`);
    assert.equal(warm.status, 200, await warm.clone().text());
    const fresh = await chat(`A new text. ${prompt}`);
    assert.equal(fresh.status, 200, await fresh.clone().text());
    assert.ok((await fresh.json()).usage.prompt_tokens >= before.usage.prompt_tokens);
    const session = await post('/sessions', { model, input: `Without a store. ${prompt}` });
    assert.equal(session.status, 201, await session.clone().text());
    const { id } = await session.json();
    const turn = await post(`/sessions/${id}/turns`, { input: 'When?', max_tokens: 4 });
    assert.equal(turn.status, 200, await turn.clone().text());
  } finally {
    await platform.startObjectStore();
  }
});

const DRAWS = { greedily: { temperature: 0 }, 'by a seed': { temperature: 1, seed: 11 } };

for (const [how, sampling] of Object.entries(DRAWS)) {
  test(`a worker killed in mid-stream is taken over: the same tokens as without the kill, drawn ${how}`, async () => {
    await takenOver(sampling);
  });
}

async function takenOver(sampling: Record<string, number>): Promise<void> {
  const request = {
    ...sampling,
    max_tokens: 160,
    return_token_ids: true,
    logit_bias: { 2: -100 },
    cache: { read: false, write: false },
  };
  const content = 'Tell a long story about a harbour.';
  const expected = (await (await chat(content, request)).json()).choices[0].token_ids as number[];
  const response = await chat(content, { ...request, stream: true });
  const ids: number[] = [];
  let killed: string | undefined;
  let last:
    | { choices: { finish_reason?: string }[]; longshore?: { worker_id: string; workers_lost: number } }
    | undefined;
  let buffer = '';
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    buffer += text;
    const lines = buffer.split('\n');
    buffer = lines.pop()!;
    for (const line of lines) {
      if (!line.startsWith('data: {')) continue;
      const chunk = JSON.parse(line.slice(6));
      assert.equal(chunk.error, undefined, line);
      ids.push(...(chunk.choices[0]?.token_ids ?? []));
      if (chunk.longshore) last = chunk;
    }
    if (ids.length >= 10 && killed === undefined) {
      killed = await busyWorker();
      await platform.killWorker(killed);
    }
  }
  try {
    assert.deepEqual(ids, expected);
    assert.equal(last!.longshore!.workers_lost, 1);
    assert.notEqual(last!.longshore!.worker_id, killed);
  } finally {
    if (killed !== undefined) await revive(killed);
  }
}

async function revive(workerId: string): Promise<void> {
  await platform.startWorker(workerId);
  await until(async () => (await platform.workerStats(workerId)).state === 'ready');
}

async function busyWorker(): Promise<string> {
  for (const { id } of platform.workers) {
    const { load } = (await platform.workerStats(id)) as { load: { running: number } };
    if (load.running > 0) return id;
  }
  throw new Error('no worker is busy');
}

async function until(probe: () => Promise<boolean>, milliseconds = 20_000): Promise<void> {
  const end = Date.now() + milliseconds;
  while (!(await probe().catch(() => false))) {
    if (Date.now() > end) throw new Error(`not within ${milliseconds} ms`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
