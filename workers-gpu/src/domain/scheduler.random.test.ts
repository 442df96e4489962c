import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_TOKENS } from '@longshore/core';
import { build, restore, sequence, TwinDevice } from '../testing/scheduler-bench.ts';
import type { Fork } from './scheduler.ts';
import { seededRandom } from './seeded-random.ts';
import type { Sequence } from './sequence.ts';

for (let seed = 1; seed <= 30; seed++) {
  test(`finishes everything with the right tokens under random load, seed ${seed}`, () => {
    const random = seededRandom(seed);
    const capacity = 12 + random(20);
    const device = new TwinDevice();
    const scheduler = build(capacity, { maxRunning: 1 + random(6), maxWaiting: 40, maxBatchTokens: 128 + random(400) });
    const alive = new Map<string, { one: Sequence; goal: number }>();
    let created = 0;
    let finished = 0;
    for (let step = 0; step < 2000 && (created < 25 || alive.size > 0); step++) {
      if (created < 25 && random(3) === 0) {
        const length = 1 + random(Math.min(900, (capacity - 4) * BLOCK_TOKENS));
        const goal = length + 1 + random(200);
        const one = sequence(`s${created++}`, length, {
          prefix: random(4),
          organizationId: ['x', 'yy', 'zzz'][random(3)]!,
          sample: random(5) > 0,
          storedBlocks: random(3) === 0 ? random(4) : 0,
          followUntil: random(500),
          readCache: random(8) > 0,
          shareBlocks: random(8) > 0,
        });
        scheduler.submit(one, 1);
        alive.set(one.id, { one, goal });
      }
      const forks = new Map<Sequence, Fork>();
      for (const { sequence, fork } of scheduler.admit(step)) if (fork !== undefined) forks.set(sequence, fork);
      for (const [one, fork] of forks) {
        scheduler.checkIntegrity();
        const copied = random(4) > 0;
        if (copied) device.copy(fork);
        scheduler.forked(one, fork, copied);
      }
      for (const { one } of alive.values()) {
        if (one.phase !== 'restoring' || random(2) === 0) continue;
        const { first, end } = one.load!;
        const valid = first + random(end - first + 1);
        device.write(one, one.computed, valid * BLOCK_TOKENS);
        restore(scheduler, one, valid);
      }
      if (random(40) === 0 && alive.size > 0) {
        const victim = [...alive.values()][random(alive.size)]!;
        scheduler.finish(victim.one);
        alive.delete(victim.one.id);
      }
      const plan = scheduler.plan(1 + random(256));
      scheduler.checkIntegrity();
      const total = plan.entries.reduce((sum, entry) => sum + entry.count, 0);
      assert.ok(total <= scheduler.limits.maxBatchTokens);
      if (random(10) === 0) continue; // the step was aborted: nothing is committed and it is planned again
      for (const { sequence: one, start, count } of plan.entries) {
        assert.ok(start + count <= one.blocks.length * BLOCK_TOKENS);
        device.check(one, start);
      }
      for (const { sequence: one, start, count } of plan.entries) device.write(one, start, start + count);
      scheduler.commit(plan.entries);
      for (const entry of plan.entries) if (entry.sample) entry.sequence.append(random(1000));
      for (const { one, goal } of [...alive.values()]) {
        if (one.phase !== 'running' || (one.sample ? one.tokens.length < goal : one.remaining > 0)) continue;
        scheduler.finish(one);
        alive.delete(one.id);
        finished++;
      }
      scheduler.checkIntegrity();
    }
    assert.equal(alive.size, 0, 'no request starves');
    assert.ok(finished > 0);
    assert.equal(scheduler.blocks.available, capacity);
  });
}
