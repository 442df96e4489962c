import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TouchThrottle } from './touch-throttle.ts';

test('each key is due at most once a minute', () => {
  let now = 0;
  const throttle = new TouchThrottle(() => now);
  assert.deepEqual(throttle.due(['a', 'b']), ['a', 'b']);
  now = 59_999;
  assert.deepEqual(throttle.due(['a', 'b', 'c']), ['c']);
  now = 60_000;
  assert.deepEqual(throttle.due(['a', 'c']), ['a']);
});

test('remembers at most 10,000 keys', () => {
  const throttle = new TouchThrottle(() => 0);
  const keys = Array.from({ length: 10_001 }, (_, index) => String(index));
  assert.equal(throttle.due(keys).length, 10_001);
  assert.deepEqual(throttle.due(['0', '10000']), ['0']);
});
