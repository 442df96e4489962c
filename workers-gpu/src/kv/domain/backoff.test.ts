import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoffMs } from './backoff.ts';

test('grows to its bound and stays there, whatever the attempt and the dice', () => {
  let before = 0;
  for (let attempt = 0; attempt < 2000; attempt++) {
    const wait = backoffMs(attempt, 50, 1000, 0.5);
    assert.ok(wait >= before && wait <= 1000);
    before = wait;
    assert.ok(backoffMs(attempt, 50, 1000, 0) >= 40 && backoffMs(attempt, 50, 1000, 0.9999) <= 1200);
  }
  assert.equal(before, 1000);
});
