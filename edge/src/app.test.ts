import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { rawSql } from '@longshore/db/testing';
import { EdgeHarness } from './testing/edge-harness.ts';
import { type FakeWorker, POOL_TOKEN } from './testing/fake-worker.ts';
import { jsonOf } from './testing/sse.ts';

let edge: EdgeHarness;
let worker: FakeWorker;
const hello = { model: 'tiny', messages: [{ role: 'user', content: 'Hello' }] };
const CHAT = '/v1/chat/completions';

before(async () => {
  edge = await EdgeHarness.start();
  worker = await edge.addWorker('a');
});
beforeEach(() => edge.pool.heartbeat(worker.beat(), Date.now()));
after(() => edge.stop());

async function expectError(response: Response, status: number, code: string) {
  assert.equal(response.status, status);
  const { error } = await jsonOf(response);
  assert.equal(error.code, code);
  assert.equal(typeof error.message, 'string');
  assert.ok('param' in error && 'type' in error);
  assert.match(response.headers.get('x-request-id')!, /^req_/);
  return error;
}

const change = (assignment: string) =>
  rawSql(edge.db, `update api_keys set ${assignment} where id = '${edge.organization.apiKeyId}'`);
const chat = (fetch: (path: string, init?: RequestInit) => Promise<Response>) =>
  fetch(CHAT, { method: 'POST', body: JSON.stringify(hello) });

test('refuses a missing, mistyped or unknown key with 401', async () => {
  const { apiKey } = edge.organization;
  const unknown = (await edge.newOrganization('gone')).apiKey!;
  await rawSql(edge.db, `delete from api_keys where id <> '${edge.organization.apiKeyId}'`);
  for (const authorization of [
    '',
    'Basic x',
    'Bearer sk-1234',
    `Bearer ${apiKey!.slice(0, -1)}`,
    `Bearer ${unknown}`,
  ]) {
    const response = await edge.fetch('/v1/models', { headers: { authorization } });
    await expectError(response, 401, 'invalid_api_key');
    assert.equal(response.headers.get('www-authenticate'), 'Bearer');
  }
});

test('refuses a disabled or expired key with 401 and says which', async () => {
  await change('disabled_at = now()');
  assert.match((await expectError(await chat(edge.fresh()), 401, 'invalid_api_key')).message, /revoked/);
  await change("disabled_at = null, expires_at = now() - interval '1 second'");
  assert.match((await expectError(await chat(edge.fresh()), 401, 'invalid_api_key')).message, /expired/);
  await change('expires_at = null');
  assert.equal((await chat(edge.fresh())).status, 200);
});

test('revokes a key that was just used within five seconds', async () => {
  const fetch = edge.fresh();
  assert.equal((await chat(fetch)).status, 200);
  await change('disabled_at = now()');
  const revoked = Date.now();
  let response = await chat(fetch);
  while (response.status === 200 && Date.now() - revoked < 6000) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    edge.pool.heartbeat(worker.beat(), Date.now());
    response = await chat(fetch);
  }
  await change('disabled_at = null');
  assert.equal(response.status, 401);
  assert.ok(Date.now() - revoked < 5000, `took ${Date.now() - revoked} ms`);
});

test('refuses what the key’s scopes leave out with 403', async () => {
  await change(`scopes = '{admin:read}'`);
  const fetch = edge.fresh();
  for (const [path, method] of [
    [CHAT, 'POST'],
    ['/v1/completions', 'POST'],
    ['/v1/sessions', 'POST'],
    ['/v1/sessions', 'GET'],
    ['/v1/sessions/ses_1', 'GET'],
    ['/v1/sessions/ses_1', 'DELETE'],
    ['/v1/sessions/ses_1/turns', 'POST'],
  ] as const) {
    const body = method === 'POST' ? JSON.stringify(hello) : undefined;
    await expectError(await fetch(path, { method, body }), 403, 'insufficient_scope');
  }
  await change(`scopes = '{inference,sessions}'`);
});

test('hides models that the key may not use', async () => {
  await change(`models = '{other}'`);
  const fetch = edge.fresh();
  await expectError(await chat(fetch), 404, 'model_not_found');
  await expectError(await fetch('/v1/models/tiny'), 404, 'model_not_found');
  assert.deepEqual((await jsonOf(await fetch('/v1/models'))).data, []);
  await change('models = null');
});

test('fails closed with 503 when the database is down, known keys included, and recovers with it', async () => {
  const dead = { HYPERDRIVE: { connectionString: 'postgres://x:x@127.0.0.1:9/none' } };
  const fetch = edge.fresh(dead);
  const response = await chat(fetch);
  await expectError(response, 503, 'database_unavailable');
  assert.ok(Number(response.headers.get('retry-after')) >= 1);
  assert.equal(worker.calls.filter((call) => call.aborted).length, 0);
  const ready = await fetch('/readyz');
  assert.equal(ready.status, 503);
  assert.equal((await jsonOf(ready)).database, 'unavailable');
  dead.HYPERDRIVE.connectionString = edge.bindings.HYPERDRIVE.connectionString;
  assert.equal((await chat(edge.fresh(dead))).status, 200);
});

test('records when a key was last used, without holding the answer', async () => {
  await change('last_used_at = null');
  assert.equal((await edge.fresh()('/v1/models')).status, 200);
  await edge.settle();
  const [row] = await rawSql(edge.db, `select last_used_at from api_keys where id = '${edge.organization.apiKeyId}'`);
  assert.ok(row!.last_used_at);
});

test('lists and shows the models that live workers serve', async () => {
  const list = await jsonOf(await edge.fetch('/v1/models'));
  assert.equal(list.object, 'list');
  assert.equal(list.data[0].id, 'tiny');
  assert.equal(list.data[0].created, 1_700_000_000);
  assert.deepEqual(await jsonOf(await edge.fetch('/v1/models/tiny')), list.data[0]);
  await expectError(await edge.fetch('/v1/models/org%2Fmissing'), 404, 'model_not_found');
});

test('answers an unknown model with 404 and names the field', async () => {
  const error = await expectError(await edge.post(CHAT, { ...hello, model: 'missing' }), 404, 'model_not_found');
  assert.equal(error.param, 'model');
});

test('answers malformed JSON with 400 and the position of the fault', async () => {
  const send = (body: string) => edge.fetch(CHAT, { method: 'POST', body });
  const error = await expectError(await send('{"model": "tiny",\n "messages": [}'), 400, 'malformed_json');
  assert.match(error.message, /position 32 \(line 2, column 15\)/);
  await expectError(await send(''), 400, 'malformed_json');
  await expectError(
    await edge.fetch(CHAT, { method: 'POST', body: Uint8Array.of(0x22, 0xff, 0x22) }),
    400,
    'malformed_json',
  );
});

test('answers a body over 8 MiB with 413, with and without a stated length', async () => {
  const big = JSON.stringify({ ...hello, user: 'x'.repeat(10_000_000) });
  await expectError(await edge.fetch(CHAT, { method: 'POST', body: big }), 413, 'body_too_large');
  const stream = new Blob([big]).stream();
  await expectError(
    await edge.fetch(CHAT, { method: 'POST', body: stream, duplex: 'half' } as RequestInit),
    413,
    'body_too_large',
  );
  assert.equal((await chat(edge.fresh())).status, 200);
});

test('answers unknown paths with 404 and other methods with 405 and Allow, as JSON', async () => {
  await expectError(await edge.fetch('/v1/nothing'), 404, 'not_found');
  await expectError(await edge.fetch('/nothing'), 404, 'not_found');
  const response = await edge.fetch(CHAT);
  await expectError(response, 405, 'invalid_request');
  assert.equal(response.headers.get('allow'), 'POST');
  assert.equal((await edge.fetch('/v1/sessions', { method: 'DELETE' })).headers.get('allow'), 'POST, GET');
});

test('is healthy without a key and ready only with a live worker', async () => {
  const anonymous = { headers: { authorization: '' } };
  assert.equal((await edge.fetch('/healthz', anonymous)).status, 200);
  const ready = await edge.fetch('/readyz', anonymous);
  assert.deepEqual(await jsonOf(ready), { status: 'ready', database: 'ok', workers: 1 });
  edge.pool.heartbeat(worker.beat({ state: 'draining' }), Date.now());
  const drained = await edge.fetch('/readyz', anonymous);
  assert.equal(drained.status, 503);
  assert.ok(drained.headers.get('retry-after'));
  const refused = await edge.post(CHAT, hello);
  await expectError(refused, 503, 'no_worker_available');
  assert.ok(Number(refused.headers.get('retry-after')) >= 1);
});

test('takes heartbeats from holders of the pool token only', async () => {
  const beat = worker.beat({ workerId: 'late' });
  const send = (token: string, body: unknown = beat) =>
    edge.post('/internal/heartbeats', body, { headers: { authorization: `Bearer ${token}` } });
  await expectError(await send(edge.organization.apiKey!), 401, 'invalid_api_key');
  await expectError(await send(`${POOL_TOKEN}x`), 401, 'invalid_api_key');
  await expectError(await send(POOL_TOKEN, { ...beat, load: undefined }), 400, 'invalid_request');
  assert.equal(edge.pool.liveWorkers(Date.now()), 1);
  assert.equal((await send(POOL_TOKEN)).status, 204);
  assert.equal(edge.pool.liveWorkers(Date.now()), 2);
  edge.pool.heartbeat({ ...beat, state: 'draining' }, Date.now());
});

test('tells an operator which variable is missing', async () => {
  const response = await edge.fresh({ LONGSHORE_POOL_TOKEN: '' })('/healthz');
  assert.equal(response.status, 500);
  assert.match((await jsonOf(response)).error.message, /LONGSHORE_POOL_TOKEN/);
});
