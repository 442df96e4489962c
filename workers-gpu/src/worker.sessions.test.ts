import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { loadSession } from '@longshore/db';
import { GREEDY, PARAGRAPH, said } from './testing/prompts.ts';
import { openWorkerBench, type RunningWorker, type WorkerBench } from './testing/worker-bench.ts';

let bench: WorkerBench;
let a: RunningWorker;
before(async () => {
  bench = await openWorkerBench();
  a = await bench.worker('a');
});
after(() => bench.close());

const turn = (session: string, text: string) => ({ session, input: said(text), maxTokens: 12, ...GREEDY });

test('a session is prefilled once; every later turn, here or elsewhere, recomputes nothing and answers the same', async () => {
  const session = await bench.session();
  const created = await a.prefill({ session, input: said(PARAGRAPH.repeat(25)) });
  assert.equal(created.status, 200);
  const progress = created.events.filter((event) => event.type === 'progress');
  assert.ok(progress.length > 1);
  assert.equal(created.done?.usage.completionTokens, 0);
  const stored = created.done!.usage.promptTokens;

  const row = await loadSession(bench.client.db, bench.organizationId, session);
  assert.deepEqual([row?.status, row?.tokenCount, row?.turnCount], ['ready', stored, 1]);

  const first = await a.generate(turn(session, 'What did the keeper write?'));
  assert.deepEqual([first.done?.cache.tier, first.done?.usage.cachedTokens], ['device', stored]);

  const b = await bench.worker('b');
  const second = await b.generate(turn(session, 'When?'));
  assert.equal(second.done?.cache.tier, 'disk');
  assert.equal(second.done?.cache.missReason, undefined, 'a ready session is a hit');
  const added = second.done!.usage.promptTokens - second.done!.usage.cachedTokens;
  assert.ok(added < 40, `computed ${added} tokens`);

  const third = await a.generate(turn(session, 'Who?'));
  // The tail lies in the store by now: worth reading, or (with a tiny model) faster to compute, which is then said.
  const elsewhere = third.done!.usage.promptTokens - third.done!.usage.cachedTokens;
  assert.ok(
    elsewhere < 40 || third.done!.cache.missReason === 'load_slower_than_recompute',
    JSON.stringify(third.done),
  );

  const messages = [
    { role: 'user', content: PARAGRAPH.repeat(25) },
    { role: 'user', content: 'What did the keeper write?' },
    { role: 'assistant', content: first.text },
    { role: 'user', content: 'When?' },
    { role: 'assistant', content: second.text },
    { role: 'user', content: 'Who?' },
  ];
  const uncached = await b.generate({
    input: { kind: 'messages', messages },
    cache: { read: false, write: false },
    maxTokens: 12,
    ...GREEDY,
  });
  assert.equal(uncached.done?.usage.promptTokens, third.done?.usage.promptTokens);
  assert.deepEqual(uncached.ids, third.ids);
  await b.close();
});

test('a session of text goes on with text', async () => {
  const session = await bench.session();
  await a.prefill({ session, input: { kind: 'text', text: PARAGRAPH.repeat(6) } });
  const answer = await a.generate({ session, input: { kind: 'text', text: 'The keeper' }, maxTokens: 6, ...GREEDY });
  const whole = await a.generate({
    input: { kind: 'text', text: `${PARAGRAPH.repeat(6)}The keeper` },
    cache: { read: false, write: false },
    maxTokens: 6,
    ...GREEDY,
  });
  assert.deepEqual(answer.ids, whole.ids);
});

test('two turns at once: one of them is told to retry, and the session holds one of the answers', async () => {
  const session = await bench.session();
  await a.prefill({ session, input: said(PARAGRAPH) });
  const b = await bench.worker('b2');
  const answers = await Promise.all([
    a.generate(turn(session, 'One?')),
    a.generate(turn(session, 'Two?')),
    b.generate(turn(session, 'Three?')),
  ]);
  const failed = answers.filter((answer) => answer.error !== undefined);
  assert.equal(answers.filter((answer) => answer.done !== undefined).length, 1);
  assert.deepEqual(
    failed.map((answer) => answer.error?.code),
    ['conflict', 'conflict'],
  );
  const row = await loadSession(bench.client.db, bench.organizationId, session);
  assert.deepEqual([row?.version, row?.turnCount], [2, 2]);
  await b.close();
});

test('a turn that was recorded before its worker was lost is not appended again by the next one', async () => {
  const session = await bench.session();
  await a.prefill({ session, input: said(PARAGRAPH) });
  const sent = { ...turn(session, 'One?'), sessionVersion: 1 };
  const recorded = await a.generate(sent);
  const b = await bench.worker('b3');
  const continued = await b.generate({ ...sent, continuation: { tokens: recorded.ids } });
  assert.deepEqual([continued.status, continued.error?.code], [409, 'conflict']);
  const row = await loadSession(bench.client.db, bench.organizationId, session);
  assert.deepEqual([row?.version, row?.turnCount], [2, 2]);
  await b.close();
});

test('a turn that writes nothing leaves what earlier turns kept', async () => {
  const session = await bench.session();
  await a.prefill({ session, input: said(PARAGRAPH.repeat(8)) });
  const before = await loadSession(bench.client.db, bench.organizationId, session);
  assert.ok(before?.tailObjectKey);
  await a.generate({ ...turn(session, 'One?'), cache: { read: true, write: false } });
  const after = await loadSession(bench.client.db, bench.organizationId, session);
  assert.equal(after?.tailObjectKey, before.tailObjectKey);
  const b = await bench.worker('b4');
  const next = await b.generate(turn(session, 'Two?'));
  assert.equal(next.done?.usage.cachedTokens, before.tokenCount);
  await b.close();
});

test("another organization's session does not exist", async () => {
  const session = await bench.session();
  await a.prefill({ session, input: said('x') });
  const answer = await a.generate({ ...turn(session, 'y'), organizationId: await bench.organization() });
  assert.deepEqual([answer.status, answer.error?.code], [404, 'not_found']);
});

test('a prefill that is refused leaves the session failed, with the reason', async () => {
  const session = await bench.session();
  const refused = await a.prefill({ session, input: { kind: 'tokens', tokens: new Array(20_000).fill(1) } });
  assert.equal(refused.error?.code, 'context_length_exceeded');
  const row = await loadSession(bench.client.db, bench.organizationId, session);
  assert.equal(row?.status, 'failed');
  assert.match(row!.error!, /20000 tokens/);
  const again = await a.generate(turn(session, 'x'));
  assert.equal(again.error?.code, 'conflict');
});
