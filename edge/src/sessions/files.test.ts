import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { encodeSessionFileHeader, type ImportAnswer } from '@longshore/core';
import { EdgeHarness } from '../testing/edge-harness.ts';
import type { FakeWorker } from '../testing/fake-worker.ts';
import { readySession } from '../testing/ready-session.ts';
import { jsonOf } from '../testing/sse.ts';

let edge: EdgeHarness;
let worker: FakeWorker;
const SESSIONS = '/v1/sessions';
const ANSWER: ImportAnswer = {
  tokenCount: 300,
  blocksImported: 2,
  blocksTotal: 2,
  recomputedTokens: 0,
  bytes: 1000,
  reason: null,
};
const FILE = Buffer.concat([
  encodeSessionFileHeader({
    model: 'tiny',
    namespace: 'ab'.repeat(32),
    identity: {
      weights: 'sha256:1',
      config: {},
      tokenizer: 'sha256:2',
      kvDtype: 'bf16',
      codec: 'raw',
      codecParameter: 0,
      policy: {},
      numerics: 'n',
    },
    tokenCount: 300,
    turnCount: 1,
    blockCount: 2,
    tailTokens: 44,
  }),
  Buffer.alloc(300_000, 7),
]);

before(async () => {
  edge = await EdgeHarness.start();
  worker = await edge.addWorker('a');
});
beforeEach(() => {
  worker.questions.length = 0;
  edge.pool.heartbeat(worker.beat(), Date.now());
});
after(() => edge.stop());

const send = (body: Uint8Array, query = '') => edge.fetch(`${SESSIONS}/import${query}`, { method: 'POST', body });
const sessions = async () => (await jsonOf(await edge.fetch(`${SESSIONS}?limit=100`))).data;

test('hands the worker’s file on, byte for byte, under the session’s name', async () => {
  const id = await readySession(edge);
  worker.reply = () => ({ status: 200, body: FILE });
  const response = await edge.fetch(`${SESSIONS}/${id}/export`);
  assert.equal(response.headers.get('content-type'), 'application/vnd.longshore.session');
  assert.match(response.headers.get('content-disposition')!, new RegExp(`${id}\\.lssx`));
  assert.deepEqual(Buffer.from(await response.arrayBuffer()), FILE);
  assert.deepEqual([worker.questions[0]!.path, worker.questions[0]!.body.session], ['/sessions/export', id]);
});

test('hands a file on to a worker of its model, byte for byte, and says what became of its KV', async () => {
  worker.reply = () => ({ status: 200, body: ANSWER });
  const response = await send(FILE, '?label=Moved&ttl_seconds=3600');
  assert.equal(response.status, 201, await response.clone().text());
  const session = await jsonOf(response);
  assert.deepEqual([session.label, session.ttl_seconds, session.model], ['Moved', 3600, 'tiny']);
  assert.deepEqual(session.import, {
    blocks_imported: 2,
    blocks_total: 2,
    recomputed_tokens: 0,
    bytes: 1000,
    reason: null,
  });
  const [{ path, body }] = worker.questions as [(typeof worker.questions)[0]];
  assert.deepEqual(
    [path, body.session, body.model, body.organizationId],
    ['/sessions/import', session.id, 'tiny', edge.organization.organizationId],
  );
  assert.deepEqual(body.bytes, FILE);
});

test('a file that is refused leaves no session', async () => {
  const before = (await sessions()).length;
  worker.reply = () => ({ status: 400, body: { error: { code: 'invalid_request', message: 'damaged in frame 1' } } });
  const refused = await send(FILE);
  assert.deepEqual([refused.status, (await jsonOf(refused)).error.message], [400, 'damaged in frame 1']);
  assert.equal((await send(Buffer.from('no session file'))).status, 400);
  assert.equal((await send(FILE.subarray(0, 60))).status, 400);
  assert.equal((await send(FILE, '?ttl_seconds=1')).status, 400);
  assert.equal((await send(FILE, '?model=unknown')).status, 404);
  await edge.settle();
  assert.equal((await sessions()).length, before);
});

test('another project’s session cannot be exported', async () => {
  const id = await readySession(edge);
  const { apiKey } = await edge.newOrganization('exporter');
  const headers = { authorization: `Bearer ${apiKey}` };
  assert.equal((await edge.fetch(`${SESSIONS}/${id}/export`, { headers })).status, 404);
  assert.equal(worker.questions.length, 0);
});
