import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Breaker } from './domain/breaker.ts';
import { guarded } from './guard.ts';
import { StoreError, type StoreErrorKind } from './ports.ts';

function port() {
  const state = { calls: 0, now: 0, fail: undefined as StoreErrorKind | undefined };
  const target = {
    tier: 's3',
    async call(value: number) {
      state.calls++;
      if (state.fail) throw new StoreError(state.fail, 'no');
      return value + 1;
    },
  };
  return { state, guard: guarded(target, new Breaker(2, 1000), 'object store', () => state.now) };
}

test('passes values, results and properties through', async () => {
  const { guard } = port();
  assert.equal(await guard.call(1), 2);
  assert.equal(guard.tier, 's3');
});

test('a dead dependency is asked once per pause instead of once per call', async () => {
  const { state, guard } = port();
  state.fail = 'timeout';
  for (let index = 0; index < 10; index++) await assert.rejects(guard.call(1), { name: 'StoreError' });
  assert.equal(state.calls, 2);
  state.now = 1000;
  for (let index = 0; index < 10; index++) await assert.rejects(guard.call(1), { kind: /unavailable|timeout/ });
  assert.equal(state.calls, 3);
  state.now = 2000;
  state.fail = undefined;
  assert.equal(await guard.call(1), 2);
  assert.equal(await guard.call(2), 3);
});

test('missing, truncated and cancelled are answers, not failures', async () => {
  const { state, guard } = port();
  for (const kind of ['missing', 'truncated', 'cancelled'] as const) {
    state.fail = kind;
    for (let index = 0; index < 5; index++) await assert.rejects(guard.call(1), { kind });
  }
  assert.equal(state.calls, 15);
});
