import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FollowWait } from './follow-wait.ts';

test('waits while the leader advances as predicted, and for its predicted remainder after its last advance', () => {
  const wait = new FollowWait(0, 60_000, 2000);
  for (let second = 0; second <= 5; second++) {
    wait.observe(second * 1000, 20 - second * 2, 500);
    assert.equal(wait.over(second * 1000, 20_000), undefined);
  }
  // Ten blocks at 500 ms each are left: 1.5 times that, and two seconds.
  assert.equal(wait.remainderMs, 5000);
  assert.equal(wait.over(5000 + 9500, 20_000), undefined);
  assert.equal(wait.over(5000 + 9501, 20_000), 'stalled');
});

test('a leader that stalls before its first advance is not waited for longer than it promised', () => {
  const wait = new FollowWait(100, 60_000, 2000);
  wait.observe(100, 4, 250);
  wait.observe(3000, 4, 250);
  assert.equal(wait.over(3000, 1000), undefined);
  assert.equal(wait.over(3700, 1000), 'stalled');
});

test('a leader slower than it promised is left when computing here would be faster, and not for a little', () => {
  const wait = new FollowWait(0, 60_000, 2000);
  wait.observe(0, 32, 100);
  assert.equal(wait.over(0, 3200), undefined);
  wait.observe(1000, 30, 100);
  assert.ok(wait.remainderMs > 8000 && wait.remainderMs < 10_000, `${wait.remainderMs}`);
  assert.equal(wait.over(1000, 3000), 'slower');
  assert.equal(wait.over(1000, 4500), undefined);
});

test('never waits beyond its deadline, however well the leader does', () => {
  const wait = new FollowWait(0, 10_000, 2000);
  for (let second = 0; second < 10; second++) {
    wait.observe(second * 1000, 1000 - second * 100, 10);
    assert.equal(wait.over(second * 1000, 1e6), undefined);
  }
  assert.equal(wait.over(10_000, 1e6), 'deadline');
});

test('a new leader, who has more to do than the last one had left, starts the prediction anew', () => {
  const wait = new FollowWait(0, 60_000, 2000);
  wait.observe(0, 3, 100);
  wait.observe(2000, 20, 200);
  assert.equal(wait.remainderMs, 4000);
  assert.equal(wait.over(2000 + 7900, 10_000), undefined);
});
