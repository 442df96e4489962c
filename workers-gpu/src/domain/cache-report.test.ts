import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CacheFacts, cacheReport } from './cache-report.ts';

const FACTS: CacheFacts = {
  promptTokens: 1000,
  reusableBlocks: 7,
  residentBlocks: 0,
  restoredBlocks: 0,
  cachedTokens: 0,
  reusableTokens: 896,
  tailRestored: false,
  storeTier: 's3',
  bytes: 0,
  loadMs: 0,
  recomputeMsEstimate: 0,
  missReason: undefined,
};

test('a miss always has a reason and the first divergent token', () => {
  const report = cacheReport(FACTS);
  assert.deepEqual(
    [report.tier, report.decision, report.missReason, report.firstDivergentToken, report.savedMs],
    ['none', 'compute', 'never_seen', 0, 0],
  );
  assert.equal(cacheReport({ ...FACTS, reusableBlocks: 0, reusableTokens: 0 }).missReason, 'below_one_block');
  assert.equal(cacheReport({ ...FACTS, missReason: 'expired' }).missReason, 'expired');
});

test('a whole hit names the tier it was read from and no reason', () => {
  const whole = cacheReport({ ...FACTS, restoredBlocks: 7, cachedTokens: 896, loadMs: 20, recomputeMsEstimate: 900 });
  assert.deepEqual([whole.tier, whole.decision, whole.savedMs, whole.missReason], ['s3', 'restore', 880, undefined]);
  const device = cacheReport({ ...FACTS, residentBlocks: 7, cachedTokens: 896 });
  assert.deepEqual([device.tier, device.decision, device.blocksHit], ['device', 'reuse', 7]);
});

test('a restore that lost time says so', () => {
  const slow = cacheReport({ ...FACTS, restoredBlocks: 7, cachedTokens: 896, loadMs: 50, recomputeMsEstimate: 40 });
  assert.equal(slow.savedMs, -10);
});

test('a partial hit says where it ended', () => {
  const part = cacheReport({ ...FACTS, residentBlocks: 2, restoredBlocks: 1, cachedTokens: 384 });
  assert.deepEqual(
    [part.decision, part.missReason, part.firstDivergentToken],
    ['restore_and_compute', 'never_seen', 384],
  );
});

test('where something was stored, both estimates and the regret against the better one are told', () => {
  const estimates = { loadMs: 100, recomputeMs: 400 };
  const told = cacheReport({ ...FACTS, estimates, prefixMs: 150 });
  assert.deepEqual([told.loadMsEstimate, told.computeMsEstimate, told.regretEstimate], [100, 400, 1.5]);
  assert.equal(cacheReport({ ...FACTS, estimates, prefixMs: undefined }).regretEstimate, undefined);
  assert.equal(cacheReport(FACTS).loadMsEstimate, undefined);
});
