import assert from 'node:assert/strict';
import { test } from 'node:test';
import { build, run, sequence } from '../testing/scheduler-bench.ts';

test('identical prompts: the partial last block is computed once, the others copy it up to their last token', () => {
  const scheduler = build(40, { maxRunning: 8 });
  for (const id of ['a', 'b', 'c', 'd']) scheduler.submit(sequence(id, 300, { prefix: 5, followUntil: 1e9 }), 1);
  let computed = 0;
  for (let step = 0; step < 4; step++) {
    for (const { sequence: one, fork } of scheduler.admit(0)) {
      scheduler.checkIntegrity();
      if (fork === undefined) continue;
      assert.deepEqual([fork.firstToken, fork.tokens], [256, 43]);
      scheduler.forked(one, fork, true);
    }
    const { entries } = scheduler.plan(512);
    for (const { sequence: one, count } of entries) if (one.tokens.length === 300) computed += count;
    scheduler.commit(entries);
    for (const entry of entries) if (entry.sample) entry.sequence.append(7);
    scheduler.checkIntegrity();
  }
  assert.equal(scheduler.waiting.length, 0);
  assert.equal(computed, 300 + 3);
});

test('a prompt that parts inside the block copies what is shared, waits until it is there, and not for one that stopped', () => {
  const scheduler = build(40, { maxRunning: 8, maxBatchTokens: 128 });
  const leader = sequence('a', 330, { prefix: 5, followUntil: 1e9 });
  const follower = sequence('b', 300, { prefix: 5, followUntil: 1e9 });
  for (let at = 290; at < 300; at++) follower.tokens[at] = 7;
  scheduler.submit(leader, 1);
  run(scheduler);
  run(scheduler);
  scheduler.submit(follower, 1);
  assert.deepEqual(scheduler.admit(0), []);
  assert.deepEqual(
    scheduler.followings(0).map(({ leader: one }) => one.id),
    ['a'],
  );
  scheduler.finish(leader);
  const [admission] = scheduler.admit(0);
  assert.deepEqual([admission!.residentBlocks, admission!.fork], [2, undefined]);
  const third = sequence('c', 320, { prefix: 5, followUntil: 1e9 });
  scheduler.submit(third, 1);
  scheduler.commit(scheduler.plan(128).entries);
  const [forking] = scheduler.admit(0);
  assert.deepEqual([forking!.fork!.from, forking!.fork!.tokens], [follower.blocks[2], 34]);
  assert.equal(scheduler.blocks.referencesOf(follower.blocks[2]!), 2);
  scheduler.finish(follower);
  scheduler.checkIntegrity();
  scheduler.forked(third, forking!.fork!, false);
  assert.equal(third.computed, 256, 'a copy that failed is computed');
  scheduler.checkIntegrity();
});

test('ends of prompts go before long prefills and whole while others decode, but never in two steps running', () => {
  const scheduler = build(60, { maxRunning: 16 });
  scheduler.submit(sequence('a', 20), 1);
  run(scheduler);
  scheduler.submit(sequence('b', 1000), 1);
  run(scheduler, 128);
  for (const id of ['c', 'd', 'e', 'f', 'g', 'h']) scheduler.submit(sequence(id, 60), 1);
  const counts = () => run(scheduler, 128).entries.map(({ sequence: { id }, count }) => `${id}${count}`);
  assert.deepEqual(counts(), ['a1', 'c60', 'd60', 'e60', 'f60', 'g60', 'h60']);
  for (const id of ['i', 'j', 'k']) scheduler.submit(sequence(id, 60), 1);
  assert.deepEqual(counts(), ['a1', 'c1', 'd1', 'e1', 'f1', 'g1', 'h1', 'b128']);
  assert.deepEqual(counts(), ['a1', 'c1', 'd1', 'e1', 'f1', 'g1', 'h1', 'i60', 'j60', 'k60']);
});

test('nobody waits for or copies the end of a block that it would begin again: those beyond denseTokens', () => {
  const scheduler = build(40, { maxRunning: 8, denseTokens: 256 });
  const [leader, follower] = ['a', 'b'].map((id) => sequence(id, 300, { prefix: 5, followUntil: 1e9 }));
  scheduler.submit(leader!, 1);
  run(scheduler);
  scheduler.submit(follower!, 1);
  const [admission] = scheduler.admit(0);
  assert.deepEqual([admission!.residentBlocks, admission!.fork], [2, undefined]);
  assert.equal(follower!.phase, 'running');
  scheduler.checkIntegrity();
});
