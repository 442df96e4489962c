import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { formatId, type TruncateAnswer } from '@longshore/core';
import { deleteSession, forkSession, kvTotals, loadSession } from '@longshore/db';
import { GREEDY, PARAGRAPH, said } from './testing/prompts.ts';
import { MODEL_ID, openWorkerBench, type RunningWorker, type WorkerBench } from './testing/worker-bench.ts';

let bench: WorkerBench;
let a: RunningWorker;
before(async () => {
  bench = await openWorkerBench();
  a = await bench.worker('a');
});
after(() => bench.close());

const turn = (session: string, text: string) => ({ session, input: said(text), maxTokens: 12, ...GREEDY });
const rowOf = async (id: string) => (await loadSession(bench.client.db, bench.organizationId, id))!;
const held = () => kvTotals(bench.client.db, bench.organizationId);

async function fork(sourceId: string): Promise<string> {
  const { organizationId, projectId } = await rowOf(sourceId);
  const id = formatId('session', randomBytes(16));
  assert.ok(await forkSession(bench.client.db, { organizationId, projectId }, { id, sourceId }));
  return id;
}

async function truncate(worker: RunningWorker, session: string, point: object) {
  const { organizationId } = bench;
  const body = { requestId: randomBytes(8).toString('hex'), organizationId, model: MODEL_ID, session, ...point };
  const response = await worker.post('/sessions/truncate', body);
  return { status: response.status, body: (await response.json()) as TruncateAnswer & { error?: { message: string } } };
}

test('a fork copies no byte of KV, and both sides go on from the same cache, each its own way', async () => {
  const session = await bench.session();
  await a.prefill({ session, input: said(PARAGRAPH.repeat(9)) });
  await a.generate(turn(session, 'What did the keeper write?'));
  const before = await held();
  const forked = await fork(session);
  assert.deepEqual(await held(), before);
  const { tokenCount } = await rowOf(session);

  const left = await a.generate(turn(session, 'When?'));
  const b = await bench.worker('b');
  const right = await b.generate(turn(forked, 'When?'));
  assert.deepEqual(right.ids, left.ids, 'the same question in both gets the same answer');
  // All but the answer's last token, which no step has computed yet.
  assert.ok(right.done!.usage.cachedTokens >= tokenCount - 1, JSON.stringify(right.done));
  const elsewhere = await b.generate(turn(forked, 'Where?'));
  assert.equal(elsewhere.error, undefined);
  const [origin, branch] = [await rowOf(session), await rowOf(forked)];
  assert.deepEqual([origin.turnCount, branch.turnCount], [3, 4]);
  assert.notEqual(origin.tailObjectKey, branch.tailObjectKey);
  await b.close();
});

test('deleting the origin leaves its fork whole, and deleting the fork leaves the origin whole', async () => {
  for (const deletesOrigin of [true, false]) {
    const session = await bench.session();
    const text = `${deletesOrigin} ${PARAGRAPH.repeat(7)}`;
    await a.prefill({ session, input: said(text) });
    const { tokenCount } = await rowOf(session);
    const forked = await fork(session);
    const [gone, left] = deletesOrigin ? [session, forked] : [forked, session];
    await deleteSession(bench.client.db, bench.organizationId, gone);
    await a.worker.parts.kv.sweep();
    const fresh = await bench.worker(`after-${deletesOrigin}`);
    const answer = await fresh.generate(turn(left, 'What?'));
    assert.equal(answer.done?.usage.cachedTokens, tokenCount, JSON.stringify(answer.done?.cache));
    assert.equal((await a.generate(turn(gone, 'What?'))).error?.code, 'not_found');
    await fresh.close();
  }
});

test('a session cut back to a turn answers as if what followed had never been said', async () => {
  const session = await bench.session();
  await a.prefill({ session, input: said(PARAGRAPH.repeat(8)) });
  const first = await a.generate(turn(session, 'One?'));
  const { tokenCount, tailObjectKey } = await rowOf(session);
  const straight = await fork(session);
  await a.generate(turn(session, 'Two, and what else is written in the book?'));
  await a.generate(turn(session, 'Three?'));
  const longTail = (await rowOf(session)).tailObjectKey;

  const cut = await truncate(a, session, { turn: 1 });
  assert.deepEqual(
    [cut.status, cut.body.tokenCount, cut.body.turnCount],
    [200, tokenCount, 2],
    JSON.stringify(cut.body),
  );
  assert.ok(cut.body.keptTokens > 0 && cut.body.keptTokens % 128 === 0, `kept ${cut.body.keptTokens}`);
  const row = await rowOf(session);
  assert.equal(row.tailObjectKey, null);
  assert.notEqual(longTail, tailObjectKey);

  const again = await a.generate(turn(session, 'Four?'));
  const expected = await a.generate(turn(straight, 'Four?'));
  assert.deepEqual(again.ids, expected.ids);
  assert.equal(again.done?.usage.promptTokens, expected.done?.usage.promptTokens);
  assert.ok(again.done!.usage.cachedTokens >= cut.body.keptTokens);
  assert.ok(first.ids.length > 0);
});

test('a session cut to a number of tokens goes on as exactly the text of those tokens', async () => {
  const session = await bench.session();
  await a.prefill({ session, input: { kind: 'text', text: PARAGRAPH.repeat(8) } });
  const cut = await truncate(a, session, { tokens: 150 });
  assert.deepEqual([cut.body.tokenCount, cut.body.keptTokens], [150, 128]);
  const tokens = await a.worker.parts.prompts.build({ kind: 'text', text: PARAGRAPH.repeat(8) }, false);
  const answer = await a.generate({ session, input: { kind: 'text', text: ' Then' }, maxTokens: 6, ...GREEDY });
  const added = await a.worker.parts.text.tokenizer.encode(' Then', 'middle');
  const uncached = await a.generate({
    input: { kind: 'tokens', tokens: [...tokens.tokens.slice(0, 150), ...added] },
    cache: { read: false, write: false },
    maxTokens: 6,
    ...GREEDY,
  });
  assert.deepEqual(answer.ids, uncached.ids);
  assert.equal(answer.done?.usage.cachedTokens, 128);
});

test('a fork that is cut leaves its origin as it was', async () => {
  const session = await bench.session();
  await a.prefill({ session, input: said(PARAGRAPH.repeat(4)) });
  const before = await rowOf(session);
  const forked = await fork(session);
  assert.equal((await truncate(a, forked, { tokens: 20 })).status, 200);
  const after = await rowOf(session);
  assert.deepEqual([after.tailObjectKey, after.tokenCount], [before.tailObjectKey, before.tokenCount]);
  const next = await a.generate(turn(session, 'And?'));
  assert.equal(next.done?.usage.cachedTokens, before.tokenCount);
});

test('a cut beyond the end, before the start, or of no session is refused with the bounds', async () => {
  const session = await bench.session();
  await a.prefill({ session, input: said('Short.') });
  const { tokenCount } = await rowOf(session);
  const far = await truncate(a, session, { tokens: tokenCount + 1 });
  assert.deepEqual([far.status, far.body.error?.message.includes(`1 to ${tokenCount}`)], [400, true]);
  assert.equal((await truncate(a, session, { turn: 1 })).status, 400);
  assert.equal((await truncate(a, session, {})).status, 400);
  assert.equal((await truncate(a, session, { turn: 0, tokens: 3 })).status, 400);
  assert.equal((await truncate(a, 'ses_none', { turn: 0 })).status, 404);
});
