import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import type { Tier } from '../ports.ts';

export interface TierUnderTest {
  tier: Tier;
  stop: () => Promise<void>;
}

export interface TierSettings {
  budgetBytes: number;
  pinnedBytes: number;
  ttlMs: number;
  /** The clock the tier is to use, milliseconds. */
  now: () => number;
}

const bytesOf = (length: number, seed = 1) =>
  Uint8Array.from({ length }, (_, index) => (Math.imul(index + seed, 2654435761) >>> 13) & 255);

/** What every Tier promises. `overheadBytes`: what an object costs beside its body, at most. */
export function tierContract(
  name: string,
  overheadBytes: number,
  open: (settings: TierSettings) => Promise<TierUnderTest>,
) {
  describe(`tier contract: ${name}`, () => {
    const size = 10_000;
    let clock = 1000;
    let tier: Tier;
    let stop: () => Promise<void>;
    beforeEach(async () => {
      clock = 1000;
      const budgetBytes = 10 * (size + overheadBytes);
      ({ tier, stop } = await open({ budgetBytes, pinnedBytes: budgetBytes / 2, ttlMs: 60_000, now: () => clock }));
    });
    afterEach(async () => {
      tier.checkIntegrity();
      await stop();
    });
    const keep = (key: string, costMs = 100, seed = 1) => tier.fill(key, bytesOf(size, seed), costMs);
    const read = async (key: string, length = size, offset = 0) => {
      const target = new Uint8Array(length);
      return (await tier.readInto(key, target, { offset })) ? target : undefined;
    };

    test('gives back what it was given, whole and in ranges, and nothing else', async () => {
      assert.equal(await keep('kv/a/1', 100, 1), true);
      assert.equal(await keep('kv/a/2', 100, 2), true);
      assert.deepEqual(await read('kv/a/1'), bytesOf(size, 1));
      assert.deepEqual(await read('kv/a/2', 300, 4000), bytesOf(size, 2).slice(4000, 4300));
      assert.equal(await read('kv/a/3'), undefined);
      assert.deepEqual([tier.has('kv/a/1'), tier.has('kv/a/3'), tier.has('kv/a')], [true, false, false]);
      const { hits, misses, fills, servedBytes, objects } = tier.stats();
      assert.deepEqual([hits, misses, fills, servedBytes, objects], [2, 1, 2, size + 300, 2]);
    });

    test('an object that ends before the reader is full is a miss', async () => {
      await keep('kv/a');
      assert.equal(await read('kv/a', size + 1), undefined);
      await keep('kv/b');
      assert.equal(await read('kv/b', 10, size - 5), undefined);
    });

    test('reports progress that only grows and ends with the whole target', async () => {
      await keep('kv/a');
      const seen: number[] = [];
      await tier.readInto('kv/a', new Uint8Array(size), { onProgress: (filled) => seen.push(filled) });
      assert.equal(seen.at(-1), size);
      assert.ok(seen.every((filled, index) => index === 0 || filled > seen[index - 1]!));
    });

    test('what the reader throws comes back unchanged, a cancelled read as cancelled; the object stays', async () => {
      await keep('kv/a');
      const mine = new Error('enough');
      const onProgress = () => {
        throw mine;
      };
      await assert.rejects(tier.readInto('kv/a', new Uint8Array(size), { onProgress }), (error) => error === mine);
      const signal = AbortSignal.abort();
      await assert.rejects(tier.readInto('kv/a', new Uint8Array(size), { signal }), { kind: 'cancelled' });
      assert.deepEqual(await read('kv/a'), bytesOf(size));
    });

    test('never exceeds its budget, and gives up what is cheapest to compute again', async () => {
      for (let at = 0; at < 10; at++) await keep(`kv/${at}`, at === 3 ? 1 : 100);
      assert.equal(tier.stats().evictions, 0);
      assert.equal(await keep('kv/new'), true);
      assert.equal(tier.has('kv/3'), false);
      assert.equal(await tier.fill('kv/huge', bytesOf(tier.stats().budgetBytes + 1), 1e9), false);
      const { bytes, budgetBytes, evictions } = tier.stats();
      assert.ok(bytes <= budgetBytes);
      assert.equal(evictions, 1);
    });

    test('many fills and reads at once neither mix nor exceed the budget', async () => {
      const keys = Array.from({ length: 40 }, (_, index) => `kv/many/${index}`);
      await Promise.all(
        keys.map(async (key, index) => {
          await keep(key, 100, index);
          tier.checkIntegrity();
          const bytes = await read(key);
          if (bytes) assert.deepEqual(bytes, bytesOf(size, index));
        }),
      );
      const { bytes, budgetBytes, objects } = tier.stats();
      assert.ok(bytes <= budgetBytes && objects >= 9, `${objects} objects, ${bytes} bytes`);
    });

    test('a second fill of a key changes nothing', async () => {
      await keep('kv/a');
      assert.equal(tier.accepts('kv/a', size), false);
      assert.equal(await keep('kv/a', 100, 2), true);
      assert.deepEqual(await read('kv/a'), bytesOf(size));
      assert.equal(tier.stats().objects, 1);
    });

    test('pins are neither evicted nor expired, and hold no more than their share', async () => {
      await keep('kv/pinned', 1);
      assert.equal(tier.pin('kv/pinned'), true);
      assert.equal(tier.pin('kv/none'), false);
      for (let at = 0; at < 30; at++) await keep(`kv/${at}`, 1000);
      clock += 120_000;
      assert.deepEqual(await read('kv/pinned'), bytesOf(size));
      await tier.expire(100);
      assert.deepEqual(tier.keys(undefined, 100), ['kv/pinned']);
      for (let at = 0; at < 9; at++) await keep(`kv/more/${at}`, 1000);
      const pinned = Array.from({ length: 9 }, (_, at) => tier.pin(`kv/more/${at}`)).filter(Boolean).length;
      assert.ok(pinned >= 3 && pinned <= 4, `${pinned} more pins`);
      assert.ok(tier.stats().pinnedBytes <= tier.stats().budgetBytes / 2);
      tier.unpin('kv/pinned');
      clock += 120_000;
      assert.equal(tier.has('kv/pinned'), false);
    });

    test('time to live slides on use', async () => {
      await keep('kv/used');
      await keep('kv/unused');
      clock += 40_000;
      assert.ok(await read('kv/used'));
      clock += 40_000;
      assert.deepEqual([tier.has('kv/used'), tier.has('kv/unused')], [true, false]);
      assert.equal(await read('kv/unused'), undefined);
      assert.equal(await tier.expire(100), 1);
      assert.deepEqual(tier.keys(undefined, 100), ['kv/used']);
      assert.equal(tier.stats().expirations, 1);
    });

    test('removes, and removing again is no error; the bytes are free at once', async () => {
      await keep('kv/a');
      await tier.remove('kv/a');
      await tier.remove('kv/a');
      assert.deepEqual([tier.has('kv/a'), tier.stats().bytes, tier.stats().objects], [false, 0, 0]);
      assert.equal(await read('kv/a'), undefined);
      assert.equal(await keep('kv/a', 100, 2), true);
      assert.deepEqual(await read('kv/a'), bytesOf(size, 2));
    });

    test('pages its keys without gaps or repeats', async () => {
      const keys = Array.from({ length: 7 }, (_, index) => `kv/page/${index}`);
      for (const key of keys) await keep(key);
      for (const limit of [1, 2, 7, 8]) {
        const found: string[] = [];
        for (let page = tier.keys(undefined, limit); page.length > 0; page = tier.keys(found.at(-1), limit))
          found.push(...page);
        assert.deepEqual(found.sort(), keys);
      }
    });
  });
}
