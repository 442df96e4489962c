import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_TOKENS } from '@longshore/core';
import { BlockManager } from './block-manager.ts';
import { PrefixChain } from './prefix-chain.ts';
import { Scheduler } from './scheduler.ts';
import { seededRandom } from './seeded-random.ts';
import { Sequence } from './sequence.ts';
import type { StepEntry } from './step-plan.ts';

/** Under a sparse policy a block has its true bytes only when one step computes it whole. */

const DENSE_TOKENS = 256;

const build = (capacity: number, maxBatchTokens = 512) =>
  new Scheduler(new BlockManager(capacity), {
    maxRunning: 4,
    maxWaiting: 64,
    maxBatchTokens,
    denseTokens: DENSE_TOKENS,
  });

function sequence(id: number, length: number): Sequence {
  return new Sequence({
    id: `s${id}`,
    organizationId: `org${id % 3}`,
    tokens: Array.from({ length }, (_, index) => id * 10_000 + index),
    chain: new PrefixChain(new Uint8Array(32).fill(id % 3)),
    sample: true,
    readCache: true,
    shareBlocks: true,
  });
}

const shape = (entries: readonly StepEntry[]) => entries.map(({ start, count, sample }) => [start, count, sample]);

function step(scheduler: Scheduler, mixed: number) {
  scheduler.admit(0);
  const { entries } = scheduler.plan(mixed);
  const completed = scheduler.commit(entries);
  for (const entry of entries) if (entry.sample) entry.sequence.append(7);
  scheduler.checkIntegrity();
  return { entries, completed };
}

test('the token that completes a block by decoding is computed with the whole block', () => {
  const scheduler = build(20);
  scheduler.submit(sequence(1, 382), 1);
  assert.deepEqual(shape(step(scheduler, 64).entries), [[0, 382, true]]);
  assert.deepEqual(shape(step(scheduler, 64).entries), [[382, 1, true]]);
  const { entries, completed } = step(scheduler, 64);
  assert.deepEqual(shape(entries), [[256, 128, true]]);
  assert.deepEqual([completed[0]!.start, completed[0]!.end], [2, 3]);
  assert.deepEqual(shape(step(scheduler, 64).entries), [[384, 1, true]]);
});

test('a block that ends at denseTokens is completed by decoding as it is', () => {
  const scheduler = build(20);
  scheduler.submit(sequence(1, 255), 1);
  step(scheduler, 64);
  assert.deepEqual(shape(step(scheduler, 64).entries), [[255, 1, true]]);
});

test('a block that a session began and in which the prompt ends is computed anew up to there', () => {
  const one = sequence(1, 700);
  one.computed = 650;
  one.cached = 650;
  one.realign(DENSE_TOKENS);
  assert.deepEqual([one.computed, one.cached], [640, 640]);
  one.computed = 700;
  one.append(7);
  one.realign(DENSE_TOKENS);
  assert.equal(one.computed, 700, 'what was decoded stays');
  const short = sequence(2, 200);
  short.computed = 190;
  short.realign(DENSE_TOKENS);
  assert.equal(short.computed, 190, 'dense blocks have the same bits in any steps');
});

test('a budget below a block gives the block whole or nothing', () => {
  const scheduler = build(20, 140);
  const prompt = sequence(1, 700);
  scheduler.submit(prompt, 1);
  scheduler.submit(sequence(4, 2), 1);
  for (let steps = 0; prompt.computed < 700; steps++) {
    const entry = step(scheduler, 32).entries.find((one) => one.sequence === prompt);
    assert.ok(steps < 50, 'the prompt makes progress');
    if (entry === undefined || entry.start + entry.count <= DENSE_TOKENS) continue;
    assert.equal(entry.start % BLOCK_TOKENS, 0);
    assert.ok(entry.count % BLOCK_TOKENS === 0 || entry.start + entry.count === 700);
  }
});

test('in any mixture every complete block beyond denseTokens was last computed whole, over blocks that no longer change', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const random = seededRandom(seed);
    const scheduler = build(60, 132 + random(400));
    /** Of each sequence's blocks: whether the last step that wrote it wrote all of it. */
    const whole = new Map<Sequence, boolean[]>();
    let next = 0;
    for (let round = 0; round < 200; round++) {
      if (next < 12 && random(5) === 0) scheduler.submit(sequence(next++, 1 + random(900)), 1);
      const { entries, completed } = step(scheduler, 1 + random(200));
      for (const { sequence: one, start, count } of entries) {
        const prompt = one.initialTokens;
        const last = prompt - (prompt % BLOCK_TOKENS);
        if (start < prompt && start + count > last && last + BLOCK_TOKENS > DENSE_TOKENS)
          assert.ok(
            start <= last && start + count >= prompt,
            `seed ${seed}: the end of a prompt is computed in one step`,
          );
        const blocks = whole.get(one) ?? [];
        whole.set(one, blocks);
        for (let block = Math.floor(start / BLOCK_TOKENS); block * BLOCK_TOKENS < start + count; block++) {
          assert.ok(
            block >= one.registered || start + count >= (block + 1) * BLOCK_TOKENS,
            'registered blocks are not written in part',
          );
          blocks[block] = start <= block * BLOCK_TOKENS && start + count >= (block + 1) * BLOCK_TOKENS;
        }
      }
      for (const { sequence: one, start, end } of completed)
        for (let block = start; block < end; block++)
          if ((block + 1) * BLOCK_TOKENS > DENSE_TOKENS)
            assert.ok(whole.get(one)?.[block], `seed ${seed}, block ${block}`);
      for (const one of [...scheduler.running]) if (random(33) === 0) scheduler.finish(one);
    }
    scheduler.checkIntegrity();
  }
});
