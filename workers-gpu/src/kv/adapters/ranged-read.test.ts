import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { HedgeClock } from '../domain/hedge-clock.ts';
import { Slots } from '../slots.ts';
import { type RangedReadOptions, type ReadPart, readInParts } from './ranged-read.ts';

const BODY = randomBytes(1000);

function optionsFor(read: ReadPart, more: Partial<RangedReadOptions> = {}): RangedReadOptions {
  return {
    target: new Uint8Array(BODY.length),
    partBytes: 128,
    read,
    connections: new Slots(3, 100),
    clock: new HedgeClock(),
    signal: new AbortController().signal,
    now: () => performance.now(),
    ...more,
  };
}

const deliver: ReadPart = async (offset, part, _, took) => {
  part.set(BODY.subarray(offset, offset + part.length));
  took(part.length);
};

test('fills the target from parts that end in any order, on no more connections than there are', async () => {
  let open = 0;
  let most = 0;
  const progress: number[] = [];
  const options = optionsFor(
    async (offset, part, signal, took) => {
      most = Math.max(most, ++open);
      await sleep((offset * 7) % 13);
      await deliver(offset, part, signal, took);
      open--;
    },
    { onProgress: (filled) => progress.push(filled) },
  );
  await readInParts(options);
  assert.ok(BODY.equals(options.target));
  assert.equal(most, 3);
  assert.equal(progress.at(-1), BODY.length);
  assert.deepEqual(
    [...progress].sort((a, b) => a - b),
    progress,
    'never backwards',
  );
});

test('the first error ends all parts, and none writes afterwards', async () => {
  const [begun, ended]: [number[], number[]] = [[], []];
  const options = optionsFor(async (offset, _, signal) => {
    begun.push(offset);
    if (offset === 128) await sleep(20);
    else if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
    ended.push(offset);
    throw offset === 128 ? new Error('broken') : signal.reason;
  });
  await assert.rejects(readInParts(options), /broken/);
  assert.deepEqual(begun, [0, 128, 256]);
  assert.deepEqual(ended.sort(), begun.sort());
});

test('what progress throws ends the read', async () => {
  const options = optionsFor(deliver, {
    onProgress: () => {
      throw new Error('enough');
    },
  });
  await assert.rejects(readInParts(options), /enough/);
});

function learned(): HedgeClock {
  const clock = new HedgeClock();
  for (let heard = 0; heard < 20; heard++) {
    clock.asked();
    clock.observe(1);
  }
  return clock;
}

test('a part that hangs is asked for a second time and taken from whoever answers', async () => {
  const clock = learned();
  let hung = 0;
  const progress: number[] = [];
  const options = optionsFor(
    async (offset, part, signal, took) => {
      if (offset === 256 && hung++ === 0) {
        part.fill(0xee, 0, 40);
        took(40);
        return new Promise<void>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      }
      await deliver(offset, part, signal, took);
    },
    { clock, onProgress: (filled) => progress.push(filled) },
  );
  await readInParts(options);
  assert.ok(BODY.equals(options.target));
  assert.deepEqual([hung, clock.hedges, progress.at(-1)], [2, 1, BODY.length]);
});

test('a second request that fails leaves the first to end; when both fail the read fails', async () => {
  for (const firstFails of [false, true]) {
    let asked = 0;
    const options = optionsFor(
      async (offset, part, signal, took) => {
        if (offset !== 0) return deliver(offset, part, signal, took);
        if (asked++ > 0) throw new Error('second');
        await sleep(120);
        if (firstFails) throw new Error('first');
        await deliver(offset, part, signal, took);
      },
      { clock: learned() },
    );
    if (firstFails) await assert.rejects(readInParts(options), /first/);
    else await readInParts(options);
    assert.equal(asked, 2);
  }
});
