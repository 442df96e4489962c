import assert from 'node:assert/strict';
import { test } from 'node:test';
import { merge } from './merge.ts';

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

test('yields everything of every source, each in its own order, with no more than `width` running', async () => {
  let running = 0;
  let most = 0;
  const source = (index: number) =>
    async function* () {
      running++;
      most = Math.max(most, running);
      for (let item = 0; item < 5; item++) {
        await sleep((index * 7 + item * 3) % 5);
        yield item;
      }
      running--;
    };
  const seen: number[][] = Array.from({ length: 9 }, () => []);
  const sources = seen.map((_, index) => source(index));
  for await (const { index, item } of merge(sources, 4)) seen[index]!.push(item);
  assert.ok(seen.every((items) => assert.deepEqual(items, [0, 1, 2, 3, 4]) === undefined));
  assert.equal(most, 4);
  assert.equal(running, 0);
});

test('a failing source ends the whole and lets the others clean up', async () => {
  const cleaned: number[] = [];
  const steady = (index: number) =>
    async function* () {
      try {
        for (;;) {
          await sleep(1);
          yield index;
        }
      } finally {
        cleaned.push(index);
      }
    };
  async function* failing() {
    await sleep(5);
    yield 0;
    throw new Error('no more');
  }
  await assert.rejects(async () => {
    for await (const _ of merge([steady(0), failing, steady(2)], 3));
  }, /no more/);
  await sleep(5);
  assert.deepEqual(cleaned.sort(), [0, 2]);
});

test('a reader that stops early stops the sources, those not begun included', async () => {
  let begun = 0;
  let ended = 0;
  const source = async function* () {
    begun++;
    try {
      for (;;) {
        await sleep(1);
        yield 1;
      }
    } finally {
      ended++;
    }
  };
  for await (const _ of merge([source, source, source], 2)) break;
  await sleep(5);
  assert.deepEqual([begun, ended], [2, 2]);
});
