import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HedgeClock } from './hedge-clock.ts';

test('says nothing before it has heard enough, then waits longer than almost all took', () => {
  const clock = new HedgeClock();
  for (let heard = 0; heard < 15; heard++) clock.observe(100);
  assert.equal(clock.timeoutMs(), undefined);
  clock.observe(100);
  assert.equal(clock.timeoutMs(), 150);
  for (let heard = 0; heard < 64; heard++) clock.observe(heard < 60 ? 1000 : 9000);
  assert.ok(clock.timeoutMs()! >= 1500, 'a store that became slow as a whole is given its time');
  for (let heard = 0; heard < 64; heard++) clock.observe(1);
  assert.equal(clock.timeoutMs(), 50);
});

test('lets one request in ten be asked twice', () => {
  const clock = new HedgeClock();
  let hedges = 0;
  for (let request = 0; request < 100; request++) {
    clock.asked();
    if (clock.take()) hedges++;
  }
  assert.deepEqual([hedges, clock.hedges], [10, 10]);
});
