import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measureSeparation } from './probe.ts';

/**
 * Where nothing can be told, the area lies within 3.3 standard errors of 0.5 in 999 of 1,000 runs. A leak through the cache would give
 * about 1, as the positive control does, which the margin of so few pairs tells from 0.5 with certainty. `npm run probe:timing` runs 400.
 */
const PAIRS = 40;
const MARGIN = 3.3;

test('a tenant cannot tell from times whether another one has a prompt cached or in computation, but sees its own cache', async (t) => {
  const results = await measureSeparation(['stored', 'in_flight', 'own'], PAIRS);
  for (const { situation, auc, standardError, medianKnownMs, medianFreshMs } of results) {
    const medians = `medians ${medianKnownMs.toFixed(1)} and ${medianFreshMs.toFixed(1)} ms`;
    t.diagnostic(`${situation}: area ${auc.toFixed(3)}, ${medians}`);
    if (situation === 'own') assert.ok(auc > 0.9, `the own cache is seen: ${auc}`);
    else assert.ok(Math.abs(auc - 0.5) <= MARGIN * standardError, `${situation}: ${auc}`);
  }
});
