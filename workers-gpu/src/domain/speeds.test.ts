import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PrefillSpeed } from './prefill-speed.ts';
import { seededRandom } from './seeded-random.ts';
import { TierSpeeds } from './tier-speeds.ts';
import { TransferSpeed } from './transfer-speed.ts';

const near = (got: number, wanted: number, share: number) =>
  assert.ok(Math.abs(got - wanted) <= share * wanted, `${got} is not within ${share} of ${wanted}`);

test('answers with the prior before anything was measured', () => {
  near(new PrefillSpeed(1000).estimateMs(0, 500), 500, 0.01);
});

test('learns a cost that grows with the context, under noise', () => {
  const random = seededRandom(3);
  const cost = (start: number, end: number) => {
    const count = end - start;
    return 0.8 * count + 0.0002 * count * ((start + end) / 2);
  };
  const speed = new PrefillSpeed(100);
  for (let round = 0; round < 6; round++) {
    for (let start = 0; start < 8192; start += 512) {
      speed.observe(start, 512, cost(start, start + 512) * (0.9 + random(200) / 1000));
    }
  }
  near(speed.estimateMs(0, 8192), cost(0, 8192), 0.1);
  near(speed.estimateMs(7000, 8000), cost(7000, 8000), 0.1);
  near(speed.estimateMs(0, 512), cost(0, 512), 0.2);
});

test('never estimates below zero, whatever it saw', () => {
  const random = seededRandom(9);
  for (let round = 0; round < 200; round++) {
    const speed = new PrefillSpeed(1000);
    for (let step = 0; step < 5; step++) speed.observe(random(8000), 64 + random(448), 1 + random(1000));
    assert.ok(speed.estimateMs(0, 100) >= 0);
    assert.ok(speed.estimateMs(8000, 8100) >= 0);
  }
});

test('learns the bandwidth of restores', () => {
  const speed = new TransferSpeed(1_000_000, 5);
  for (let round = 0; round < 30; round++) speed.observe(50_000_000, 505, 5);
  near(speed.estimateMs(100_000_000), 1005, 0.05);
});

test('learns the latency too, believes the first measurement at once, and comes back to the prior while nothing is tried', () => {
  const speed = new TransferSpeed(400_000, 10);
  speed.observe(10_000_000, 10_060, 60);
  near(speed.megabytesPerSecond, 1, 0.01);
  for (let round = 0; round < 30; round++) speed.observe(500_000, 100, 60);
  near(speed.latencyMs, 60, 0.05);
  near(speed.megabytesPerSecond, 1, 0.01);
  speed.relax();
  assert.ok(speed.megabytesPerSecond < 1.2, 'a load in vain is not repeated at the next request');
  for (let round = 0; round < 100; round++) speed.relax();
  near(speed.megabytesPerSecond, 400, 0.05);
});

test('a small load that took long tells a slow bandwidth, one that never began a long latency', () => {
  const slow = new TransferSpeed(400_000, 10);
  slow.observe(600_000, 660, 60);
  near(slow.megabytesPerSecond, 1, 0.01);
  const silent = new TransferSpeed(400_000, 10);
  for (let round = 0; round < 10; round++) silent.observeSilence(3000);
  near(silent.latencyMs, 3000, 0.05);
});

test('each tier is learned from the loads that it served nearly alone', () => {
  const tiers = new TierSpeeds();
  tiers.observe(new Map([['s3', 10_000_000]]), 10_060, 60);
  tiers.observe(new Map([['disk', 10_000_000]]), 22, 2);
  tiers.observe(
    new Map([
      ['s3', 10_000_000],
      ['disk', 10_000_000],
    ]),
    100,
    2,
  );
  near(tiers.of('s3').megabytesPerSecond, 1, 0.01);
  near(tiers.of('disk').megabytesPerSecond, 500, 0.01);
});
