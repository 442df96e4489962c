import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Slots } from './slots.ts';

test('never more holders than slots, served in order', async () => {
  const slots = new Slots(2, 100);
  let holding = 0;
  let most = 0;
  const order: number[] = [];
  await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      const release = await slots.acquire()!;
      order.push(index);
      most = Math.max(most, ++holding);
      await new Promise((resolve) => setImmediate(resolve));
      holding--;
      release();
      release();
    }),
  );
  assert.equal(most, 2);
  assert.deepEqual(
    order,
    Array.from({ length: 20 }, (_, index) => index),
  );
});

test('refuses at once when too many wait', async () => {
  const slots = new Slots(1, 1);
  const release = await slots.acquire()!;
  const waiting = slots.acquire();
  assert.ok(waiting);
  assert.equal(slots.acquire(), undefined);
  release();
  (await waiting)();
  assert.ok(slots.acquire());
});

test('a cancelled waiter leaves the line and costs nobody a turn', async () => {
  const slots = new Slots(1, 10);
  const release = await slots.acquire()!;
  const cancel = new AbortController();
  const cancelled = slots.acquire(cancel.signal)!;
  const next = slots.acquire()!;
  cancel.abort();
  await assert.rejects(cancelled, { name: 'StoreError', kind: 'cancelled' });
  release();
  (await next)();
  await assert.rejects(
    async () => {
      await slots.acquire();
      await slots.acquire(AbortSignal.abort());
    },
    { kind: 'cancelled' },
  );
});
