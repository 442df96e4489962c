import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { SseDecoder } from '@longshore/core';
import { startTestPlatform, type TestPlatform } from '../harness/platform.ts';

/** Sessions over HTTP on the real platform: prefill once, resume anywhere. */
let platform: TestPlatform;
let model: string;

before(async () => {
  // What is stored is loaded, however slow this machine is just then beside what it could compute.
  platform = await startTestPlatform({ model: 'smollm2', env: { LONGSHORE_RESTORE: 'always' } });
  model = platform.model.name;
});
after(() => platform?.[Symbol.asyncDispose]());

const call = (method: string, path: string, body?: unknown, apiKey = platform.apiKey): Promise<Response> =>
  fetch(`${platform.baseUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });

const DOCUMENT = Array.from(
  { length: 70 },
  (_, day) => `On day ${day + 1} the ferry carried ${40 + ((day * 37) % 60)} people across the sound.`,
).join(' ');
const messages = [{ role: 'user', content: DOCUMENT }];
const question = {
  messages: [{ role: 'user', content: 'How many people crossed on day 3?' }],
  max_tokens: 12,
  temperature: 0,
};

async function json(response: Response, status = 200) {
  const text = await response.text();
  assert.equal(response.status, status, text);
  return JSON.parse(text);
}

const create = async (fields = {}) => json(await call('POST', '/sessions', { model, messages, ...fields }), 201);

test('a session is prefilled once and every turn is served from it', async () => {
  const session = await create({ label: 'Ferry' });
  assert.equal(session.status, 'ready');
  assert.ok(session.token_count > 1000);
  assert.equal(session.usage.prompt_tokens, session.token_count);
  const first = await json(await call('POST', `/sessions/${session.id}/turns`, question));
  assert.ok(first.usage.prompt_tokens_details.cached_tokens >= session.token_count - 1);
  const second = await json(await call('POST', `/sessions/${session.id}/turns`, question));
  assert.ok(second.usage.prompt_tokens > first.usage.prompt_tokens);
  const seen = await json(await call('GET', `/sessions/${session.id}`));
  assert.equal(seen.turn_count, 3);
  assert.ok(seen.token_count > session.token_count);
});

test('progress is streamed while a session is prefilled', async () => {
  const fresh = [{ role: 'user', content: `Another ledger. ${DOCUMENT}` }];
  const response = await call('POST', '/sessions', { model, messages: fresh, stream: true });
  const events = new SseDecoder().push(await response.text()).map(({ data }) => JSON.parse(data));
  const types = events.map(({ type }) => type);
  assert.equal(types[0], 'session.created');
  assert.equal(types.at(-1), 'session.ready');
  const progress = events.filter(({ type }) => type === 'session.progress');
  assert.ok(progress.length > 0);
  const { done, total } = progress.at(-1);
  assert.equal(done, total);
});

test('a session whose worker was killed resumes on another, with the answer of an uncached run', async () => {
  const session = await create();
  const holder = session.worker_id;
  await platform.killWorker(holder);
  try {
    const resumed = await json(
      await call('POST', `/sessions/${session.id}/turns`, { ...question, return_token_ids: true }),
    );
    assert.notEqual(resumed.longshore.worker_id, holder);
    const cold = await json(
      await call('POST', '/chat/completions', {
        ...question,
        model,
        messages: [...messages, ...question.messages],
        return_token_ids: true,
        cache: { read: false, write: false },
      }),
    );
    assert.equal(cold.usage.prompt_tokens_details.cached_tokens, 0);
    assert.ok(resumed.usage.prompt_tokens_details.cached_tokens > 1000);
    assert.deepEqual(resumed.choices[0].token_ids, cold.choices[0].token_ids);
  } finally {
    await platform.startWorker(holder);
  }
});

test('two turns at once do not both win', async () => {
  const session = await create();
  const statuses = await Promise.all(
    [0, 1].map(async () => (await call('POST', `/sessions/${session.id}/turns`, question)).status),
  );
  assert.ok(statuses.includes(200));
  const { turn_count } = await json(await call('GET', `/sessions/${session.id}`));
  assert.equal(turn_count, 1 + statuses.filter((status) => status === 200).length);
});

test('a deleted session is gone, and a key without the scope never sees one', async () => {
  const session = await create();
  const narrow = await platform.createKey('no sessions', ['inference']);
  assert.equal((await call('GET', `/sessions/${session.id}`, undefined, narrow)).status, 403);
  assert.deepEqual(await json(await call('DELETE', `/sessions/${session.id}`)), {
    id: session.id,
    object: 'session',
    deleted: true,
  });
  assert.equal((await call('GET', `/sessions/${session.id}`)).status, 404);
  assert.equal((await call('POST', `/sessions/${session.id}/turns`, question)).status, 404);
});

test('a session longer than the context is refused and listed as failed', async () => {
  const response = await call('POST', '/sessions', { model, input: 'word '.repeat(20_000) });
  assert.equal((await json(response, 400)).error.code, 'context_length_exceeded');
  const [newest] = (await json(await call('GET', '/sessions?limit=1'))).data;
  assert.equal(newest.status, 'failed');
  assert.match(newest.error, /8192/);
});
