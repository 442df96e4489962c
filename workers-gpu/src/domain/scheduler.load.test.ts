import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK_TOKENS } from '@longshore/core';
import { BlockManager } from './block-manager.ts';
import { PrefixChain } from './prefix-chain.ts';
import { Scheduler } from './scheduler.ts';
import { seededRandom } from './seeded-random.ts';
import { Sequence } from './sequence.ts';
import type { StepEntry } from './step-plan.ts';

/** Sequences that compute from the front while a tier loads from the back. */

const build = (capacity: number) =>
  new Scheduler(new BlockManager(capacity), { maxRunning: 6, maxWaiting: 64, maxBatchTokens: 512 });

function loading(id: string, length: number, storedBlocks: number, text = 0): Sequence {
  return new Sequence({
    id,
    organizationId: 'org',
    tokens: Array.from({ length }, (_, index) => text * 10_000 + index),
    chain: new PrefixChain(new Uint8Array(32)),
    sample: true,
    readCache: true,
    shareBlocks: true,
    storedBlocks,
  });
}

test('computes no more than it is allowed, and not into a block that is being written', () => {
  const scheduler = build(20);
  const one = loading('a', 1000, 7);
  scheduler.submit(one, 1);
  scheduler.admit(0);
  assert.deepEqual(scheduler.plan(512).entries, []);
  one.load!.allowance = 256;
  assert.deepEqual(scheduler.plan(512).entries[0]!.count, 256);
  one.load!.allowance = 10_000;
  assert.equal(scheduler.claim(one, 3, 7), 3);
  const { entries } = scheduler.plan(512);
  assert.deepEqual([entries[0]!.start, entries[0]!.count, entries[0]!.sample], [0, 3 * BLOCK_TOKENS, false]);
  scheduler.commit(entries);
  assert.deepEqual(scheduler.plan(512).entries, [], 'the next block is being written');
  scheduler.checkIntegrity();
});

test('a load gets only what is neither computed nor in the running step; the two meet without a gap', () => {
  const scheduler = build(20);
  const one = loading('a', 1000, 7);
  scheduler.submit(one, 1);
  scheduler.admit(0);
  one.load!.allowance = 256;
  const { entries } = scheduler.plan(512);
  assert.equal(scheduler.claim(one, 0, 2), undefined);
  assert.equal(scheduler.claim(one, 1, 7), 2);
  assert.equal(scheduler.loaded(one, 2, 7, true), undefined, 'nothing follows what is computed yet');
  scheduler.commit(entries);
  assert.deepEqual([one.phase, one.computed, one.cached, one.load], ['running', 896, 640, undefined]);
  assert.deepEqual(
    scheduler.plan(512).entries.map(({ start, count, sample }) => [start, count, sample]),
    [[896, 104, true]],
  );
  scheduler.checkIntegrity();
});

test('a block that came broken is computed, those behind it are kept', () => {
  const scheduler = build(20);
  const one = loading('a', 1000, 7);
  scheduler.submit(one, 1);
  scheduler.admit(0);
  assert.equal(scheduler.claim(one, 4, 7), 4);
  scheduler.loaded(one, 4, 7, true);
  assert.equal(scheduler.claim(one, 0, 4), 0);
  scheduler.loaded(one, 0, 4, false);
  one.load!.allowance = 10_000;
  const { entries } = scheduler.plan(512);
  assert.equal(entries[0]!.count, 512);
  scheduler.commit(entries);
  assert.deepEqual([one.phase, one.computed], ['running', 896]);
  scheduler.checkIntegrity();
});

test('what came while a step ran is used after it, although the load had ended by then', () => {
  const scheduler = build(20);
  const one = loading('a', 1000, 7);
  scheduler.submit(one, 1);
  scheduler.admit(0);
  one.load!.allowance = 256;
  const { entries } = scheduler.plan(512);
  assert.equal(scheduler.claim(one, 0, 7), 2);
  scheduler.loaded(one, 2, 7, true);
  scheduler.endLoad(one);
  scheduler.checkIntegrity();
  scheduler.commit(entries);
  assert.deepEqual([one.phase, one.computed, one.cached, one.load], ['running', 896, 640, undefined]);
  scheduler.checkIntegrity();
});

test('a gap that an ended load left is computed without being asked for, and only the gap', () => {
  const scheduler = build(20);
  const one = loading('a', 1000, 7);
  scheduler.submit(one, 1);
  scheduler.admit(0);
  scheduler.claim(one, 2, 5);
  scheduler.loaded(one, 2, 5, true);
  scheduler.endLoad(one);
  const { entries } = scheduler.plan(512);
  assert.deepEqual([entries[0]!.start, entries[0]!.count], [0, 256]);
  scheduler.commit(entries);
  assert.deepEqual([one.phase, one.computed, one.cached], ['running', 640, 384]);
  assert.equal(scheduler.plan(512).entries[0]!.count, 360, 'nothing holds the rest back');
  scheduler.checkIntegrity();
});

test('what a load brought is found by the next prompt, and a load that ends gives the rest to compute', () => {
  const scheduler = build(20);
  const one = loading('a', 1000, 7);
  scheduler.submit(one, 1);
  scheduler.admit(0);
  scheduler.claim(one, 0, 3);
  assert.deepEqual(scheduler.loaded(one, 0, 3, true), { sequence: one, start: 0, end: 3 });
  scheduler.endLoad(one);
  assert.deepEqual([one.phase, one.computed], ['running', 384]);
  scheduler.submit(loading('b', 500, 0), 1);
  assert.equal(scheduler.admit(0)[0]!.residentBlocks, 3);
  scheduler.checkIntegrity();
});

/** A load of some blocks that its owner makes in its own time. */
interface Reading {
  one: Sequence;
  first: number;
  end: number;
  claimed?: number;
}

for (let seed = 1; seed <= 40; seed++) {
  test(`no block is written by two, none is read before it is written, under random loads, seed ${seed}`, () => {
    const random = seededRandom(seed);
    const capacity = 24 + random(30);
    const scheduler = build(capacity);
    /** Text whose KV each slot of the pool holds. */
    const pool = new Map<number, number>();
    const write = (one: Sequence, start: number, end: number) => {
      for (let at = start; at < end; at++)
        pool.set(one.blocks[Math.floor(at / BLOCK_TOKENS)]! * BLOCK_TOKENS + (at % BLOCK_TOKENS), one.tokens[at]!);
    };
    const check = (one: Sequence, end: number) => {
      for (let at = 0; at < end; at++) {
        const slot = one.blocks[Math.floor(at / BLOCK_TOKENS)]! * BLOCK_TOKENS + (at % BLOCK_TOKENS);
        assert.equal(pool.get(slot), one.tokens[at], `${one.id} reads foreign KV at ${at}`);
      }
    };
    let readings: Reading[] = [];
    let step: StepEntry[] = [];
    let created = 0;
    const alive = new Set<Sequence>();
    const busy = (one: Sequence) =>
      step.some(({ sequence }) => sequence === one) ||
      readings.some((reading) => reading.one === one && reading.claimed !== undefined);
    for (let turn = 0; turn < 4000 && (created < 20 || alive.size > 0); turn++) {
      if (created < 20 && random(4) === 0) {
        const stored = random(8);
        const one = loading(`s${created++}`, 1 + random(1100), stored, random(5));
        scheduler.submit(one, 1);
        alive.add(one);
      }
      for (const { sequence: one } of scheduler.admit(turn)) {
        let end = one.load?.end ?? 0;
        while (one.load !== undefined && end > one.load.first) {
          const first = Math.max(one.load.first, end - 1 - random(3));
          readings.push({ one, first, end });
          end = first;
        }
      }
      for (const reading of [...readings]) {
        const { one, first, end } = reading;
        if (random(3) > 0) continue;
        if (reading.claimed === undefined && alive.has(one)) {
          reading.claimed = scheduler.claim(one, first, end);
          if (reading.claimed !== undefined) {
            const written = step.find(({ sequence }) => sequence === one);
            assert.ok(written === undefined || reading.claimed * BLOCK_TOKENS >= written.start + written.count);
            continue;
          }
        } else if (reading.claimed !== undefined) {
          const intact = random(4) > 0;
          if (intact) write(one, reading.claimed * BLOCK_TOKENS, end * BLOCK_TOKENS);
          scheduler.loaded(one, reading.claimed, end, intact);
        }
        readings = readings.filter((other) => other !== reading);
      }
      for (const one of alive) {
        if (one.load === undefined) continue;
        one.load.allowance = random(3) === 0 ? random(700) : 0;
        if (!readings.some((reading) => reading.one === one)) scheduler.endLoad(one);
      }
      scheduler.checkIntegrity();
      if (step.length > 0 && random(2) === 0) {
        if (random(8) > 0) {
          for (const { sequence: one, start, count } of step) write(one, start, start + count);
          scheduler.commit(step);
          for (const { sequence: one, sample } of step) if (sample) one.append(one.tokens.at(-1)! + 1);
        }
        step = [];
      }
      for (const one of [...alive]) {
        const cancelled = random(300) === 0;
        const ended = one.phase === 'running' && one.tokens.length > one.initialTokens + 5;
        if ((!cancelled && !ended) || busy(one)) continue;
        scheduler.finish(one);
        readings = readings.filter((reading) => reading.one !== one);
        alive.delete(one);
      }
      if (step.length === 0) {
        step = scheduler.plan(1 + random(256)).entries;
        for (const { sequence: one, start } of step) check(one, start);
      }
      scheduler.checkIntegrity();
    }
    assert.equal(alive.size, 0, 'no request starves');
    assert.equal(scheduler.blocks.available, capacity);
  });
}
