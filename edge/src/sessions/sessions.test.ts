import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { type Bootstrapped, commitTurn } from '@longshore/db';
import { rawSql } from '@longshore/db/testing';
import { EdgeHarness } from '../testing/edge-harness.ts';
import { type FakeWorker, refuse, wordAt } from '../testing/fake-worker.ts';
import { eventually, jsonOf, readChunks, readSse } from '../testing/sse.ts';

let edge: EdgeHarness;
let worker: FakeWorker;
let stranger: Bootstrapped;
const SESSIONS = '/v1/sessions';
const document = { model: 'tiny', input: 'a long document of seven words indeed' };

before(async () => {
  edge = await EdgeHarness.start();
  worker = await edge.addWorker('a');
  stranger = await edge.newOrganization('stranger');
});
beforeEach(() => {
  worker.calls.length = 0;
  worker.cancelled.length = 0;
  worker.pace = 0;
  /** What the real worker does when a prefill is complete: it records the turn, which makes the session ready. */
  worker.fault = async (call) => {
    if (call.path === '/prefill') await commit(call.body.session!, call.body.requestId);
    return false;
  };
  edge.pool.heartbeat(worker.beat(), Date.now());
});
after(() => edge.stop());

const commit = (sessionId: string, requestId: string) =>
  commitTurn(edge.db, {
    organizationId: edge.organization.organizationId,
    sessionId,
    expectedVersion: 0,
    workerId: 'a',
    tokenCount: 7000,
    sealedTokens: Uint8Array.of(1),
    sealedTranscript: Uint8Array.of(2),
    tailObjectKey: null,
    headHash: null,
    turn: {
      requestId,
      promptTokens: 7,
      cachedTokens: 0,
      completionTokens: 0,
      finishReason: 'stop',
      tier: 'none',
      ttftMs: 1,
    },
  });

const asStranger = { headers: { authorization: '' } };
const create = async (fields = {}) => jsonOf(await edge.post(SESSIONS, { ...document, ...fields }));

test('creates a session and answers when it is ready', async () => {
  const response = await edge.post(SESSIONS, {
    ...document,
    label: 'Contract',
    metadata: { case: '7' },
    ttl_seconds: 3600,
  });
  assert.equal(response.status, 201);
  const session = await jsonOf(response);
  assert.match(session.id, /^ses_/);
  assert.deepEqual(
    [session.object, session.status, session.model, session.label, session.metadata, session.ttl_seconds],
    ['session', 'ready', 'tiny', 'Contract', { case: '7' }, 3600],
  );
  assert.deepEqual([session.token_count, session.turn_count, session.worker_id], [7000, 1, 'a']);
  assert.ok(Math.abs(session.expires_at - session.created_at - 3600) <= 1);
  assert.equal(session.usage.prompt_tokens, 7);
  assert.deepEqual(session.usage.longshore.miss, { reason: 'never_seen', first_divergent_token: 0, exact: true });
  await edge.settle();
  const [row] = await rawSql(edge.db, `select * from usage where request_id = '${session.longshore.request_id}'`);
  assert.deepEqual([row!.decision, row!.miss_reason, row!.first_divergent_token], ['compute', 'never_seen', 0]);
  assert.equal(session.longshore.cache.decision, 'compute');
  const [call] = worker.calls;
  assert.deepEqual([call!.path, call!.body.session], ['/prefill', session.id]);
  assert.deepEqual(call!.body.input, { kind: 'text', text: document.input });
  assert.ok(!('sealedTokens' in session));
});

test('streams progress until the session is ready', async () => {
  const events = await readSse(await edge.post(SESSIONS, { ...document, stream: true }));
  assert.deepEqual(
    events.map(({ event }) => event),
    ['session.created', 'session.accepted', 'session.progress', 'session.ready'],
  );
  const [created, , progress, ready] = events.map(({ data }) => JSON.parse(data));
  assert.equal(created.session.status, 'creating');
  assert.deepEqual([progress.phase, progress.done, progress.total], ['prefill', 7, 7]);
  assert.equal(ready.session.id, created.session.id);
  assert.equal(ready.session.status, 'ready');
});

test('a prefill that fails leaves a failed session with the reason', async () => {
  worker.fault = (_, response) => {
    refuse(response, 400, { code: 'context_length_exceeded', message: 'too long by 10 tokens' });
    return true;
  };
  const response = await edge.post(SESSIONS, document);
  assert.equal(response.status, 400);
  await edge.settle();
  const [newest] = (await jsonOf(await edge.fetch(SESSIONS))).data;
  assert.deepEqual([newest.status, newest.error], ['failed', 'too long by 10 tokens']);
  const turn = await edge.post(`${SESSIONS}/${newest.id}/turns`, { input: 'x' });
  assert.equal(turn.status, 409);

  const events = await readSse(await edge.post(SESSIONS, { ...document, stream: true }));
  assert.equal(events.at(-1)!.event, 'session.failed');
  assert.equal(JSON.parse(events.at(-1)!.data).error.code, 'context_length_exceeded');
});

test('a client that leaves while its session is prefilled stops the work and leaves a failed session', async () => {
  worker.fault = (call, _response, send) => {
    send({ type: 'accepted', requestId: call.body.requestId, workerId: 'a', promptTokens: 7, seed: 0 });
    return true;
  };
  const response = await edge.post(SESSIONS, { ...document, stream: true });
  const reader = response.body!.getReader();
  await reader.read();
  await eventually('the prefill runs', () => worker.calls.length === 1);
  await reader.cancel();
  await eventually('the worker is told', () => worker.cancelled.length === 1, 1000);
  await edge.settle();
  assert.equal((await jsonOf(await edge.fetch(SESSIONS))).data[0].status, 'failed');
});

test('a turn resumes the session and answers as a chat completion', async () => {
  const { id } = await create();
  worker.calls.length = 0;
  const request = { messages: [{ role: 'user', content: 'And then?' }], max_tokens: 3, seed: 6 };
  const body = await jsonOf(await edge.post(`${SESSIONS}/${id}/turns`, request));
  const text = [0, 1, 2].map((index) => wordAt(6, index)).join('');
  assert.equal(body.object, 'chat.completion');
  assert.equal(body.session_id, id);
  assert.equal(body.choices[0].message.content, text);
  const [{ path, body: sent }] = worker.calls as [(typeof worker.calls)[0]];
  assert.deepEqual([path, sent.session, sent.sessionVersion], ['/generate', id, 1]);
  const chunks = await readChunks(await edge.post(`${SESSIONS}/${id}/turns`, { ...request, stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join(''), text);
  assert.equal(chunks[0].session_id, id);
});

test('a turn goes to the worker that last held the session', async () => {
  const { id } = await create();
  const other = await edge.addWorker('b');
  worker.calls.length = 0;
  other.calls.length = 0;
  for (let turn = 0; turn < 4; turn++) {
    edge.pool.heartbeat(worker.beat(), Date.now());
    edge.pool.heartbeat(other.beat(), Date.now());
    assert.equal((await edge.post(`${SESSIONS}/${id}/turns`, { input: `turn ${turn}` })).status, 200);
  }
  assert.deepEqual([worker.calls.length, other.calls.length], [4, 0]);
  edge.pool.heartbeat(other.beat({ state: 'draining' }), Date.now());
});

test('pages through sessions, newest first', async () => {
  const ids = [(await create()).id, (await create()).id, (await create()).id].reverse();
  const first = await jsonOf(await edge.fetch(`${SESSIONS}?limit=2`));
  assert.deepEqual(
    first.data.map((session: { id: string }) => session.id),
    ids.slice(0, 2),
  );
  assert.deepEqual([first.has_more, first.first_id, first.last_id], [true, ids[0], ids[1]]);
  const second = await jsonOf(await edge.fetch(`${SESSIONS}?limit=1&after=${first.last_id}`));
  assert.equal(second.data[0].id, ids[2]);
  assert.equal((await edge.fetch(`${SESSIONS}?limit=0`)).status, 400);
  assert.equal((await edge.fetch(`${SESSIONS}?before=x`)).status, 400);
});

test('gets and deletes a session; a deleted one is gone for every route', async () => {
  const { id } = await create();
  assert.equal((await jsonOf(await edge.fetch(`${SESSIONS}/${id}`))).status, 'ready');
  const deleted = await edge.fetch(`${SESSIONS}/${id}`, { method: 'DELETE' });
  assert.deepEqual(await jsonOf(deleted), { id, object: 'session', deleted: true });
  assert.equal((await edge.fetch(`${SESSIONS}/${id}`)).status, 404);
  assert.equal((await edge.fetch(`${SESSIONS}/${id}`, { method: 'DELETE' })).status, 404);
  assert.equal((await edge.post(`${SESSIONS}/${id}/turns`, { input: 'x' })).status, 404);
});

test('another organization cannot see, resume or delete a session', async () => {
  const { id } = await create();
  const headers = { authorization: `Bearer ${stranger.apiKey}` };
  for (const response of [
    await edge.fetch(`${SESSIONS}/${id}`, { headers }),
    await edge.post(`${SESSIONS}/${id}/turns`, { input: 'x' }, { headers }),
    await edge.fetch(`${SESSIONS}/${id}`, { method: 'DELETE', headers }),
  ])
    assert.equal(response.status, 404);
  assert.deepEqual((await jsonOf(await edge.fetch(SESSIONS, { headers }))).data, []);
  assert.equal((await edge.fetch(`${SESSIONS}/${id}`, asStranger)).status, 401);
});

const REFUSED: [name: string, body: unknown, param: string][] = [
  ['both messages and input', { ...document, messages: [{ role: 'user', content: 'x' }] }, 'messages'],
  ['neither messages nor input', { model: 'tiny' }, 'messages'],
  ['no model', { input: 'x' }, 'model'],
  ['a short ttl', { ...document, ttl_seconds: 5 }, 'ttl_seconds'],
  ['metadata that is no text', { ...document, metadata: { a: 1 } }, 'metadata.a'],
  ['a field of something else', { ...document, temperature: 1 }, 'temperature'],
];

for (const [name, body, param] of REFUSED) {
  test(`refuses to create a session with ${name}, naming the field`, async () => {
    const response = await edge.post(SESSIONS, body);
    assert.equal(response.status, 400);
    assert.equal((await jsonOf(response)).error.param, param);
    assert.equal(worker.calls.length, 0);
  });
}

test('refuses an unknown model before a session is made', async () => {
  const before = (await jsonOf(await edge.fetch(`${SESSIONS}?limit=100`))).data.length;
  assert.equal((await edge.post(SESSIONS, { ...document, model: 'missing' })).status, 404);
  assert.equal((await jsonOf(await edge.fetch(`${SESSIONS}?limit=100`))).data.length, before);
});
