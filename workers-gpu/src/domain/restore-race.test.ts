import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ComputeCost, type LoadCosts, type LoadPart, partsWorthLoading, RestoreRace } from './restore-race.ts';

/** 8 blocks each, 8 MB each. */
const PARTS: LoadPart[] = Array.from({ length: 4 }, (_, index) => ({
  firstBlock: 8 * index,
  endBlock: 8 * index + 8,
  bytes: 8_000_000,
  tier: 's3',
}));
const END = 32 * 128;

/** 0.5 ms a token: 64 ms a block. */
const compute: ComputeCost = { estimateMs: (start, end) => Math.max(0, end - start) / 2 };
const at = (megabytesPerSecond: number, latencyMs = 5): LoadCosts => ({
  of: () => ({ latencyMs, estimateMs: (bytes) => latencyMs + bytes / (1000 * megabytesPerSecond) }),
});
const race = (load: LoadCosts, parts = PARTS) => new RestoreRace(parts, END, load, compute, 0);

test('reads everything from a fast store, less the slower it is, nothing from a hopeless one', () => {
  const worth = (speed: number) => partsWorthLoading(PARTS, 0, at(speed), compute);
  assert.deepEqual([worth(500), worth(12), worth(5), worth(1)], [4, 3, 1, 0]);
});

test('a first part that would be computed sooner than everything arrives is read all the same: both need the same cores', () => {
  // 70 ms until everything is there; a first part of one block is computed in 64.
  const short = [{ ...PARTS[0]!, endBlock: 1, bytes: 1_000_000 }, ...PARTS.slice(1)];
  assert.equal(partsWorthLoading(short, 0, at(360), compute), 4);
});

test('a fast tier behind a slow one is read, the slow one is not', () => {
  const mixed: LoadCosts = { of: (tier) => (tier === 'disk' ? at(500).of(tier) : at(1).of(tier)) };
  const parts = PARTS.map((part, index) => ({ ...part, tier: index < 2 ? ('s3' as const) : ('disk' as const) }));
  assert.equal(partsWorthLoading(parts, 0, mixed, compute), 2);
  const one = race(mixed, parts);
  assert.equal(one.tokensWorthComputing(0, 512, 0), 512);
  // What the disk brings fast says nothing of what S3 has not brought yet.
  one.arrived(3, 8_000_000, 20);
  one.settle(3);
  one.arrived(2, 8_000_000, 120);
  one.settle(2);
  assert.equal(one.tokensWorthComputing(0, 512, 150), 512);
});

test('leaves the machine to a fast load and computes nothing', () => {
  assert.equal(race(at(500)).tokensWorthComputing(0, 512, 0), 0);
  assert.equal(race(at(100)).tokensWorthComputing(0, 512, 0), 0);
});

test('computes beside a slow load at once, up to where they will meet', () => {
  const slow = race(at(10));
  assert.equal(slow.tokensWorthComputing(0, 512, 0), 512);
  // The first part, 512 ms of computing, comes after 3.2 s; the second after 2.4 s: they meet inside the second or third.
  const meeting = slow.tokensWorthComputing(0, END, 0);
  assert.ok(meeting >= 1024 && meeting <= 3072, `${meeting}`);
});

test('what is not read is computed, whatever the load does', () => {
  assert.equal(race(at(500), PARTS.slice(2)).tokensWorthComputing(0, END, 0), 2048);
});

test('a load that turns out slow is found out by its rate, one that does not begin by its silence', () => {
  const trickling = race(at(500));
  trickling.arrived(3, 40_000, 10);
  assert.equal(trickling.tokensWorthComputing(0, 512, 20), 0);
  trickling.arrived(3, 40_000, 90);
  assert.equal(trickling.tokensWorthComputing(0, 512, 90), 512);
  const silent = race(at(500));
  assert.equal(silent.tokensWorthComputing(0, 512, 25), 0);
  assert.equal(silent.tokensWorthComputing(0, 512, 3000), 512);
});

test('waits for the last block when it comes sooner than it could be computed, and not when it does not', () => {
  for (const [arrived, expected] of [
    [7_900_000, 0],
    [1_000_000, 128],
  ] as const) {
    const last = race(at(10), PARTS);
    for (const part of [1, 2, 3]) {
      last.arrived(part, 8_000_000, 1);
      last.settle(part);
    }
    last.arrived(0, arrived, 1);
    const now = 1 + (24_000_000 + arrived) / 10_000;
    assert.equal(last.tokensWorthComputing(7 * 128, 128, now), expected);
  }
});

test('a part that is settled is waited for no more, one that is computed is needless', () => {
  const one = race(at(1));
  for (const part of [0, 1, 2, 3]) one.settle(part);
  assert.equal(one.tokensWorthComputing(0, 512, 0), 512);
  assert.deepEqual([one.needless(0, 1024), one.needless(0, 1023), one.needless(3, END)], [true, false, true]);
});
