import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LongshoreError } from '@longshore/core';
import { build, restore, run, sequence } from '../testing/scheduler-bench.ts';
import type { Sequence } from './sequence.ts';

test('prefills in chunks that end on block boundaries and samples only after the last prompt token', () => {
  const scheduler = build(20);
  scheduler.submit(sequence('a', 1300), 1);
  const chunks = [run(scheduler), run(scheduler), run(scheduler)].map((plan) => plan.entries[0]!);
  assert.deepEqual(
    chunks.map(({ start, count, sample }) => [start, count, sample]),
    [
      [0, 512, false],
      [512, 512, false],
      [1024, 276, true],
    ],
  );
  assert.deepEqual(
    run(scheduler).entries.map((entry) => [entry.start, entry.count, entry.sample]),
    [[1300, 1, true]],
  );
});

test('bounds prefill while others decode', () => {
  const scheduler = build(40);
  scheduler.submit(sequence('a', 100), 1);
  run(scheduler);
  scheduler.submit(sequence('b', 1000), 1);
  const plan = run(scheduler, 128);
  assert.deepEqual(
    plan.entries.map((entry) => [entry.sequence.id, entry.count]),
    [
      ['a', 1],
      ['b', 128],
    ],
  );
});

test('always computes the last prompt token, in a block of its own', () => {
  const scheduler = build(20);
  const first = sequence('a', 256);
  scheduler.submit(first, 1);
  run(scheduler);
  scheduler.finish(first);
  scheduler.submit(sequence('b', 256, { prefix: 97 }), 1);
  const [admission] = scheduler.admit(0);
  assert.equal(admission!.residentBlocks, 1);
  const plan = scheduler.plan(128);
  assert.deepEqual([plan.entries[0]!.start, plan.entries[0]!.count], [128, 128]);
});

test('one of many with the same prefix computes it, the others wait and reuse', () => {
  const scheduler = build(40, { maxRunning: 8 });
  for (const id of ['a', 'b', 'c', 'd']) scheduler.submit(sequence(id, 1025, { prefix: 5, followUntil: 1e9 }), 1);
  let computed = 0;
  for (let step = 0; step < 8 && scheduler.waiting.length + computed > 0; step++) {
    scheduler.admit(0);
    const plan = scheduler.plan(128);
    if (plan.entries.every((entry) => entry.count === 1)) break;
    for (const entry of plan.entries) computed += entry.count;
    scheduler.commit(plan.entries);
    for (const entry of plan.entries) if (entry.sample) entry.sequence.append(7);
    scheduler.checkIntegrity();
  }
  assert.equal(scheduler.waiting.length, 0);
  assert.ok(computed <= 1025 + 4 * 8, `computed ${computed} tokens`);
});

test('a follower takes over when its leader ends early, and stops waiting at its deadline', () => {
  const scheduler = build(40);
  const leader = sequence('a', 1025, { prefix: 5, followUntil: 100 });
  const follower = sequence('b', 1025, { prefix: 5, followUntil: 100 });
  scheduler.submit(leader, 1);
  scheduler.submit(follower, 1);
  assert.deepEqual(
    scheduler.admit(0).map((one) => one.sequence.id),
    ['a'],
  );
  assert.equal(scheduler.nextFollowDeadline(0), 100);
  assert.deepEqual(scheduler.admit(99), []);
  scheduler.finish(leader);
  assert.deepEqual(
    scheduler.admit(99).map((one) => one.sequence.id),
    ['b'],
  );
  const late = sequence('c', 1025, { prefix: 5, followUntil: 100 });
  scheduler.submit(late, 1);
  assert.deepEqual(
    scheduler.admit(100).map((one) => one.sequence.id),
    ['c'],
  );
  scheduler.checkIntegrity();
});

test('shares nothing between organizations', () => {
  const scheduler = build(40);
  const first = sequence('a', 300, { prefix: 5, organizationId: 'x' });
  scheduler.submit(first, 1);
  run(scheduler);
  scheduler.submit(sequence('b', 300, { prefix: 5, organizationId: 'y' }), 1);
  assert.equal(scheduler.admit(0)[0]!.residentBlocks, 0);
});

test('neither reads nor offers blocks when told not to', () => {
  const scheduler = build(40);
  const hidden = sequence('a', 300, { prefix: 5, shareBlocks: false });
  scheduler.submit(hidden, 1);
  run(scheduler);
  scheduler.finish(hidden);
  assert.equal(scheduler.blocks.cachedCount, 0);
  const open = sequence('b', 300, { prefix: 5 });
  scheduler.submit(open, 1);
  run(scheduler);
  scheduler.finish(open);
  scheduler.submit(sequence('c', 300, { prefix: 5, readCache: false }), 1);
  assert.equal(scheduler.admit(0)[0]!.residentBlocks, 0);
});

test('a busy organization does not keep another one waiting', () => {
  const scheduler = build(200, { maxRunning: 1 });
  for (let index = 0; index < 6; index++) {
    scheduler.submit(sequence(`big${index}`, 400, { organizationId: 'busy', prefix: index }), 1);
  }
  const [first] = scheduler.admit(0);
  scheduler.submit(sequence('small', 100, { organizationId: 'quiet' }), 1);
  scheduler.commit(scheduler.plan(128).entries);
  scheduler.finish(first!.sequence);
  assert.equal(scheduler.admit(0)[0]!.sequence.id, 'small');
});

test('splits a prefill step between organizations and gives it to one request inside an organization', () => {
  const scheduler = build(200);
  scheduler.submit(sequence('a', 2000, { organizationId: 'x', prefix: 1 }), 1);
  scheduler.submit(sequence('b', 2000, { organizationId: 'x', prefix: 2 }), 1);
  scheduler.submit(sequence('c', 2000, { organizationId: 'y', prefix: 3 }), 1);
  scheduler.admit(0);
  const plan = scheduler.plan(128);
  const counts = Object.fromEntries(plan.entries.map((entry) => [entry.sequence.id, entry.count]));
  assert.deepEqual(counts, { a: 256, c: 256 });
});

test('answers overloaded with the estimate when the waiting queue is full', () => {
  const scheduler = build(20, { maxWaiting: 1 });
  scheduler.submit(sequence('a', 10), 1);
  assert.throws(
    () => scheduler.submit(sequence('b', 10), 9),
    (error: unknown) => error instanceof LongshoreError && error.code === 'overloaded' && error.retryAfterSeconds === 9,
  );
});

test('preempts the youngest when blocks run out; it resumes from the blocks that stayed', () => {
  const scheduler = build(5);
  const old = sequence('a', 255, { prefix: 1 });
  const young = sequence('b', 255, { prefix: 2 });
  scheduler.submit(old, 1);
  scheduler.submit(young, 1);
  let preempted: Sequence[] = [];
  for (let step = 0; step < 200 && preempted.length === 0; step++) preempted = run(scheduler).preempted;
  assert.deepEqual(
    preempted.map((one) => one.id),
    ['b'],
  );
  const tokensBefore = young.tokens.length;
  scheduler.finish(old);
  const [again] = scheduler.admit(0);
  assert.equal(again!.sequence, young);
  assert.ok(again!.residentBlocks >= 1);
  assert.equal(young.tokens.length, tokensBefore, 'generated tokens are kept');
});

test('a restore that ends short leaves the rest to be computed', () => {
  const scheduler = build(20);
  const one = sequence('a', 1000, { storedBlocks: 5 });
  scheduler.submit(one, 1);
  const [admission] = scheduler.admit(0);
  assert.equal(one.phase, 'restoring');
  assert.equal(admission!.restoreEnd, 5);
  assert.deepEqual(scheduler.plan(128).entries, []);
  restore(scheduler, one, 2);
  assert.equal(one.computed, 256);
  assert.equal(scheduler.plan(128).entries[0]!.start, 256);
  scheduler.checkIntegrity();
});

test("a session's tail continues on the device, or from the store, only where it joins the reused blocks", () => {
  const scheduler = build(20);
  const first = sequence('a', 300, { sample: false, prefix: 5 });
  scheduler.submit(first, 1);
  run(scheduler);
  scheduler.blocks.register(first.blocks[2]!, 'tail');
  scheduler.finish(first);
  const hint = { hash: 'tail', endToken: 300, stored: true };
  const resumed = sequence('b', 350, { prefix: 5, tail: hint });
  scheduler.submit(resumed, 1);
  const [admission] = scheduler.admit(0);
  assert.equal(admission!.tail, 'device');
  assert.equal(resumed.computed, 300);
  const other = sequence('c', 350, { prefix: 5, tail: hint });
  scheduler.submit(other, 1);
  assert.equal(scheduler.admit(0)[0]!.tail, 'store', 'the device copy has an owner');
  restore(scheduler, other, 3);
  assert.equal(other.computed, 300);
  scheduler.submit(sequence('d', 350, { prefix: 9, tail: hint }), 1);
  assert.equal(scheduler.admit(0)[0]!.tail, 'none');
  scheduler.checkIntegrity();
});
