import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import type { ImportAnswer, WireError } from '@longshore/core';
import { kvTotals, loadSession } from '@longshore/db';
import { rawSql } from '@longshore/db/testing';
import type { WorkerConfig } from './config.ts';
import { fileKeyOf } from './session-file/frames.ts';
import { said } from './testing/prompts.ts';
import { repositoryFile } from './testing/test-model.ts';
import { MODEL_ID, openWorkerBench, POOL_TOKEN, type RunningWorker, type WorkerBench } from './testing/worker-bench.ts';

const GREEDY = { sampling: { temperature: 0 }, maxTokens: 8 };
const MODEL = repositoryFile('infra', 'fixture-model');
const TEXT = 'The keeper wrote the height of the tide into the book each morning. ';

let bench: WorkerBench;
let a: RunningWorker;
let names = 0;
const worker = (changes: Partial<WorkerConfig> = {}) => bench.worker(`x${names++}`, { model: MODEL, ...changes });
before(async () => {
  bench = await openWorkerBench();
  a = await worker();
});
after(() => bench.close());

const requestOf = (session: string, organizationId = bench.organizationId) => ({
  requestId: randomBytes(8).toString('hex'),
  organizationId,
  model: MODEL_ID,
  session,
});

async function exported(session: string, on = a): Promise<Buffer> {
  const response = await on.post('/sessions/export', requestOf(session));
  assert.equal(response.status, 200);
  return Buffer.from(await response.arrayBuffer());
}

async function imported(file: Uint8Array, { on = a, organizationId = bench.organizationId } = {}) {
  const session = await bench.session(organizationId);
  const query = new URLSearchParams(requestOf(session, organizationId));
  const response = await fetch(`${on.url}/sessions/import?${query}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${POOL_TOKEN}` },
    body: file,
  });
  const body = (await response.json()) as ImportAnswer & { error?: WireError };
  return { status: response.status, session, body };
}

/** A session of some turns; the greeting makes its cache its own. */
async function conversation(greeting: string, turns = 2): Promise<string> {
  const session = await bench.session();
  await a.prefill({ session, input: said(`${greeting} ${TEXT.repeat(30)}`) });
  for (let turn = 0; turn < turns; turn++) await a.generate({ session, input: said(`Question ${turn}?`), ...GREEDY });
  return session;
}

test('a session moves to another organization with its cache, sealed anew, and goes on as it would have', async () => {
  const session = await conversation('One.');
  const file = await exported(session);
  const organizationId = await bench.organization();
  const { status, session: moved, body } = await imported(file, { organizationId });
  assert.equal(status, 200, JSON.stringify(body));
  assert.deepEqual([body.reason, body.blocksImported, body.recomputedTokens], [null, body.blocksTotal, 0]);
  assert.ok(body.blocksTotal >= 3);
  const totals = await kvTotals(bench.client.db, organizationId);
  assert.ok(totals.storedBytes >= body.bytes);
  const row = (await loadSession(bench.client.db, organizationId, moved))!;
  const origin = (await loadSession(bench.client.db, bench.organizationId, session))!;
  assert.deepEqual([row.status, row.tokenCount, row.turnCount], ['ready', origin.tokenCount, origin.turnCount]);

  const next = { input: said('And then?'), ...GREEDY };
  const expected = await a.generate({ session, ...next });
  await rawSql(bench.client.db, `delete from kv_blocks where organization_id = '${bench.organizationId}'`);
  const b = await worker();
  const answer = await b.generate({ session: moved, organizationId, ...next });
  assert.deepEqual(answer.ids, expected.ids);
  await b.close();
});

test('an imported session can be cut back to any of its turns', async () => {
  const session = await conversation('Two.');
  const { session: moved } = await imported(await exported(session));
  const response = await a.post('/sessions/truncate', { ...requestOf(moved), turn: 1 });
  assert.equal(response.status, 200);
  const cut = (await response.json()) as { turnCount: number };
  assert.equal(cut.turnCount, 2);
});

test('a file with any flipped bit is refused, and leaves no session behind', async () => {
  const file = await exported(await conversation('Three.', 1));
  for (let round = 0; round < 24; round++) {
    const copy = Buffer.from(file);
    const bit = Math.floor((round + 0.5) * ((8 * copy.length) / 24));
    copy[bit >> 3]! ^= 1 << (bit & 7);
    const { status, session, body } = await imported(copy);
    assert.equal(status, 400, `bit ${bit} of ${8 * copy.length}: ${JSON.stringify(body)}`);
    const row = await loadSession(bench.client.db, bench.organizationId, session);
    assert.equal(row?.status, 'creating');
  }
  for (const end of [4, 300, file.length - 10]) assert.equal((await imported(file.subarray(0, end))).status, 400);
});

test('a file of another codec brings its transcript; its KV is computed anew, and the answer says so', async () => {
  const session = await conversation('Four.');
  const file = await exported(session);
  const b = await worker({ codec: 'raw' });
  const organizationId = await bench.organization();
  const { status, session: moved, body } = await imported(file, { on: b, organizationId });
  assert.deepEqual([status, body.reason, body.blocksImported, body.bytes], [200, 'codec_changed', 0, 0]);
  assert.equal(body.recomputedTokens, body.tokenCount);
  const next = await b.generate({ session: moved, organizationId, input: said('And then?'), ...GREEDY });
  assert.equal(next.done?.cache.missReason, undefined, JSON.stringify(next.done?.cache));
  await b.close();
});

test('KV that this platform did not seal is never taken over: it could be anything', async () => {
  const session = await conversation('Five.', 1);
  const file = await exported(session);
  const b = await worker();
  b.worker.parts.fileKey = fileKeyOf('99'.repeat(32));
  const organizationId = await bench.organization();
  const { status, body } = await imported(file, { on: b, organizationId });
  assert.deepEqual([status, body.reason, body.blocksImported], [200, 'unknown_origin', 0]);
  await b.close();
});

test('what the store has lost is not in the file, and is computed at the import', async () => {
  const session = await conversation('Six.', 1);
  const { headHash } = (await loadSession(bench.client.db, bench.organizationId, session))!;
  await rawSql(bench.client.db, `delete from kv_blocks where hash = '\\x${Buffer.from(headHash!).toString('hex')}'`);
  const organizationId = await bench.organization();
  const { status, body } = await imported(await exported(session), { organizationId });
  assert.deepEqual([status, body.reason], [200, 'not_in_file']);
  assert.ok(body.blocksImported < body.blocksTotal && body.recomputedTokens > 0, JSON.stringify(body));
});

test('only a few sessions are exported at once; those that are given up make room', async () => {
  const session = await conversation('Seven.', 0);
  const open = [new AbortController(), new AbortController()];
  const b = await worker();
  const held = open.map(({ signal }) => b.worker.files.export(requestOf(session), signal, () => {}));
  const streams = await Promise.all(held);
  assert.equal((await b.post('/sessions/export', requestOf(session))).status, 429);
  await streams[0]!.cancel();
  assert.equal((await b.post('/sessions/export', requestOf(session))).status, 200);
  await streams[1]!.cancel();
  await b.close();
});

test('another organization’s session cannot be exported', async () => {
  const session = await conversation('Eight.', 0);
  const response = await a.post('/sessions/export', requestOf(session, await bench.organization()));
  assert.equal(response.status, 404);
});
