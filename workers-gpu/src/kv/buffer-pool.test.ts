import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BufferPool } from './buffer-pool.ts';

const MIB = 1024 * 1024;

test('gives exact sizes and reuses the smallest idle buffer that fits', () => {
  const pool = new BufferPool(64 * MIB);
  const small = pool.take(MIB);
  const large = pool.take(3 * MIB + 1);
  assert.deepEqual([small.length, large.length], [MIB, 3 * MIB + 1]);
  pool.give(large);
  pool.give(small);
  const again = pool.take(10);
  assert.equal(again.length, 10);
  assert.equal(again.buffer, small.buffer);
  assert.equal(pool.take(2 * MIB).buffer, large.buffer);
});

test('never hands one buffer to two takers', () => {
  const pool = new BufferPool(64 * MIB);
  pool.give(pool.take(MIB));
  assert.notEqual(pool.take(MIB).buffer, pool.take(MIB).buffer);
});

test('keeps no more idle bytes than its bound', () => {
  const pool = new BufferPool(2 * MIB);
  const taken = [pool.take(MIB), pool.take(MIB), pool.take(MIB)];
  for (const buffer of taken) pool.give(buffer);
  const reused = [pool.take(1), pool.take(1), pool.take(1)].filter((buffer) =>
    taken.some((before) => before.buffer === buffer.buffer),
  );
  assert.equal(reused.length, 2);
});
