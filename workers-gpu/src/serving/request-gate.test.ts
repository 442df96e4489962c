import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LongshoreError } from '@longshore/core';
import { RequestGate } from './request-gate.ts';

const refusal = (run: () => unknown): LongshoreError => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof LongshoreError);
    return error;
  }
  return assert.fail('was let in');
};

test('lets in as many as it may, then says when to come back', () => {
  const gate = new RequestGate(2, () => 7);
  const first = gate.enter('a');
  gate.enter('b');
  const refused = refusal(() => gate.enter('c'));
  assert.deepEqual([refused.code, refused.retryAfterSeconds], ['overloaded', 7]);
  gate.leave(first);
  gate.enter('c');
  assert.equal(gate.count, 2);
});

test('cancels every request of an id and no other', () => {
  const gate = new RequestGate(5, () => 1);
  const [one, two, other] = [gate.enter('a'), gate.enter('a'), gate.enter('b')];
  assert.equal(gate.cancel('a'), 2);
  assert.ok(one!.signal.aborted && two!.signal.aborted && !other!.signal.aborted);
  assert.equal((one!.signal.reason as LongshoreError).code, 'cancelled');
  assert.equal(gate.cancel('none'), 0);
});

test('draining refuses new requests, ends with the last one, and gives up after its time', async () => {
  const gate = new RequestGate(5, () => 1);
  const last = gate.enter('a');
  const [long, short] = [gate.drain(1000), gate.drain(5)];
  assert.equal(refusal(() => gate.enter('b')).code, 'draining');
  assert.equal(await short, false);
  gate.leave(last);
  assert.equal(await long, true);
  assert.equal(await gate.drain(0), true);
});
