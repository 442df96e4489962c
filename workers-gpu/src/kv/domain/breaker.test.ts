import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Breaker } from './breaker.ts';

test('opens after the threshold of failures in a row, not of failures', () => {
  const breaker = new Breaker(3, 1000);
  breaker.failed(0);
  breaker.failed(0);
  breaker.succeeded();
  breaker.failed(0);
  breaker.failed(0);
  assert.ok(breaker.allows(1));
  breaker.failed(2);
  assert.equal(breaker.allows(3), false);
  assert.ok(breaker.isOpen(3));
});

test('lets one trial through after the pause; its failure opens again, its success closes', () => {
  const breaker = new Breaker(1, 1000);
  breaker.failed(0);
  assert.equal(breaker.allows(999), false);
  assert.ok(breaker.allows(1000));
  assert.equal(breaker.allows(1001), false, 'one trial at a time');
  breaker.failed(1002);
  assert.equal(breaker.allows(2001), false);
  assert.ok(breaker.allows(2002));
  breaker.succeeded();
  assert.ok(breaker.allows(2003));
  assert.equal(breaker.isOpen(2003), false);
});

test('a trial that never reports does not lock the breaker for ever', () => {
  const breaker = new Breaker(1, 1000);
  breaker.failed(0);
  assert.ok(breaker.allows(1000));
  assert.ok(breaker.allows(2000));
});
