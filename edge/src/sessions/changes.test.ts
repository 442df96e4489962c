import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { EdgeHarness } from '../testing/edge-harness.ts';
import type { FakeWorker } from '../testing/fake-worker.ts';
import { readySession } from '../testing/ready-session.ts';
import { jsonOf } from '../testing/sse.ts';

let edge: EdgeHarness;
let worker: FakeWorker;
const SESSIONS = '/v1/sessions';

before(async () => {
  edge = await EdgeHarness.start();
  worker = await edge.addWorker('a');
});
beforeEach(() => {
  worker.questions.length = 0;
  worker.reply = () => ({ status: 200, body: { tokenCount: 1, turnCount: 1, keptTokens: 0 } });
  edge.pool.heartbeat(worker.beat(), Date.now());
});
after(() => edge.stop());

const patch = (id: string, body: unknown) =>
  edge.fetch(`${SESSIONS}/${id}`, { method: 'PATCH', body: JSON.stringify(body) });

test('forks without asking any worker; the fork is a session of its own', async () => {
  const id = await readySession(edge);
  const response = await edge.fetch(`${SESSIONS}/${id}/fork`, { method: 'POST' });
  assert.equal(response.status, 201);
  const made = await jsonOf(response);
  assert.notEqual(made.id, id);
  assert.deepEqual(
    [made.forked_from, made.token_count, made.label, made.metadata, made.status],
    [id, 500, 'Origin', { a: 'b' }, 'ready'],
  );
  assert.equal(worker.questions.length, 0);
  const named = await jsonOf(await edge.post(`${SESSIONS}/${id}/fork`, { label: 'Branch', ttl_seconds: 60 }));
  assert.deepEqual([named.label, named.ttl_seconds], ['Branch', 60]);
  await edge.fetch(`${SESSIONS}/${id}`, { method: 'DELETE' });
  assert.equal((await edge.fetch(`${SESSIONS}/${made.id}`)).status, 200);
  assert.equal((await edge.post(`${SESSIONS}/${id}/fork`, {})).status, 404);
});

test('a fork at a turn cuts the fork; where that is refused, no fork is left', async () => {
  const id = await readySession(edge);
  const made = await jsonOf(await edge.post(`${SESSIONS}/${id}/fork`, { turn: 0 }));
  const [question] = worker.questions;
  assert.deepEqual(
    [question!.path, question!.body.session, question!.body.turn, question!.body.organizationId],
    ['/sessions/truncate', made.id, 0, edge.organization.organizationId],
  );
  worker.reply = () => ({
    status: 400,
    body: { error: { code: 'invalid_request', message: 'no such turn', param: 'turn' } },
  });
  const count = async () => (await jsonOf(await edge.fetch(`${SESSIONS}?limit=100`))).data.length;
  const before = await count();
  const refused = await edge.post(`${SESSIONS}/${id}/fork`, { turn: 9 });
  assert.deepEqual([refused.status, (await jsonOf(refused)).error.param], [400, 'turn']);
  await edge.settle();
  assert.equal(await count(), before);
});

test('truncates on the worker that holds the session, on another when that one is lost', async () => {
  const id = await readySession(edge);
  const other = await edge.addWorker('b');
  assert.equal((await edge.post(`${SESSIONS}/${id}/truncate`, { tokens: 100 })).status, 200);
  assert.deepEqual([worker.questions.length, other.questions.length], [1, 0]);
  worker.reply = () => ({ status: 502, body: 'a proxy’s page' });
  const moved = await edge.post(`${SESSIONS}/${id}/truncate`, { turn: 0 });
  assert.equal(moved.status, 200, await moved.text());
  assert.equal(other.questions.at(-1)!.body.turn, 0);
  edge.pool.heartbeat(other.beat({ state: 'draining' }), Date.now());
});

test('changes label, metadata, lifetime and pin, each alone', async () => {
  const id = await readySession(edge);
  assert.equal((await jsonOf(await patch(id, { label: null }))).label, null);
  assert.deepEqual((await jsonOf(await patch(id, { metadata: { c: 'd' } }))).metadata, { c: 'd' });
  const longer = await jsonOf(await patch(id, { ttl_seconds: 86_400 }));
  assert.equal(longer.ttl_seconds, 86_400);
  assert.ok(longer.expires_at - longer.last_used_at >= 86_399);
  assert.equal((await jsonOf(await patch(id, { pinned: true }))).pinned, true);
  const seen = await jsonOf(await edge.fetch(`${SESSIONS}/${id}`));
  assert.deepEqual([seen.label, seen.metadata, seen.ttl_seconds, seen.pinned], [null, { c: 'd' }, 86_400, true]);
});

test('a change or cut that makes no sense is refused and names its field', async () => {
  const id = await readySession(edge);
  for (const [body, param] of [
    [{}, undefined],
    [{ ttl_seconds: 59 }, 'ttl_seconds'],
    [{ ttl_seconds: 2_592_001 }, 'ttl_seconds'],
    [{ pinned: 'yes' }, 'pinned'],
    [{ label: '' }, 'label'],
    [{ colour: 'red' }, undefined],
  ] as const) {
    const response = await patch(id, body);
    assert.equal(response.status, 400, JSON.stringify(body));
    if (param !== undefined) assert.equal((await jsonOf(response)).error.param, param);
  }
  for (const body of [{}, { turn: 0, tokens: 1 }, { turn: -1 }, { tokens: 0 }])
    assert.equal((await edge.post(`${SESSIONS}/${id}/truncate`, body)).status, 400, JSON.stringify(body));
  assert.equal(worker.questions.length, 0);
});

test('another project’s session cannot be forked, cut or changed', async () => {
  const id = await readySession(edge);
  const { apiKey } = await edge.newOrganization('changer');
  const headers = { authorization: `Bearer ${apiKey}` };
  const answers = await Promise.all([
    edge.post(`${SESSIONS}/${id}/fork`, {}, { headers }),
    edge.post(`${SESSIONS}/${id}/truncate`, { turn: 0 }, { headers }),
    edge.fetch(`${SESSIONS}/${id}`, { method: 'PATCH', body: '{"pinned":true}', headers }),
  ]);
  assert.deepEqual(
    answers.map((answer) => answer.status),
    [404, 404, 404],
  );
});
