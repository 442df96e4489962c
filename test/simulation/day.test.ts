import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Day } from './day.ts';

/** `npm run simulate` is the whole day; these are short ones with the same checks inside. */
const short = (seed: number) =>
  new Day({ seed, hours: 5, organizations: 24, requestsPerHour: 6, quotaBytes: 60_000, tierBytes: 200_000 }).run();

test('over five simulated hours budgets hold, pins hold, chains are whole, nothing is left over, and every bill is the integral of what was held', async () => {
  const report = await short(11);
  for (const name of [
    'blocksRestored',
    'evictedObjects',
    'tierHits',
    'tierEvictions',
    'workersKilled',
    'objectsLost',
    'removals',
    'pinnedBlocksChecked',
  ] as const)
    assert.ok(report[name] > 0, `the day had some ${name}`);
  assert.ok(report.largestQuotaShare > 0.9, 'organizations were at their quota');
  assert.ok(report.byteSecondsBilled > 0);
});

test('the same seed is the same day, another is another', async () => {
  const [first, again, other] = [await short(12), await short(12), await short(13)];
  assert.equal(first.digest, again.digest);
  assert.notEqual(first.digest, other.digest);
});
