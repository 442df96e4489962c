import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { FAULT_MODES, type FaultMode, faultPlan } from './kv/testing/faulty.ts';
import { type FaultScenario, openFaultScenario } from './testing/fault-scenario.ts';

/** SQLite's way, from the worker's HTTP surface down: the k-th call fails, stalls or lies, for every k in every way. */

let scenario: FaultScenario;
before(async () => {
  scenario = await openFaultScenario();
});
after(() => scenario?.close());

const BODIES = ['put', 'fill', 'readInto'];
const ANSWERS = [...BODIES, 'head', 'list', 'delete'];

/** False: the mode would leave such a call as it is, or do what another mode does. */
function tells(mode: FaultMode, method: string): boolean {
  if (mode === 'bit_flip') return BODIES.includes(method);
  if (mode === 'reset') return method === 'readInto';
  if (mode === 'truncation' || mode === 'nothing') return ANSWERS.includes(method) || method.startsWith('find');
  return true;
}

test('without a fault the scenario reads the disk tier and the object store, and deletes', async () => {
  const plan = faultPlan(undefined, 'before');
  const { answers, restoredBlocks, leaks } = await scenario.run(plan);
  assert.deepEqual(
    answers.map(({ ids }) => ids),
    scenario.expected,
  );
  assert.deepEqual(
    answers.map(({ done }) => done?.cache.tier),
    ['none', 'none', 'disk', 'host'],
  );
  assert.ok(restoredBlocks[2]! >= 3 && restoredBlocks[3] === 5, String(restoredBlocks));
  assert.deepEqual(leaks, []);
  for (const method of [...ANSWERS, 'reserve', 'markReady', 'removeBlocks', 'deleteRows', 'load'])
    assert.ok(plan.log.includes(method), `the scenario calls ${method}`);
});

test('whichever call fails, stalls or lies: the answers are right and nothing is left behind', async (t) => {
  const base = faultPlan(undefined, 'before');
  await scenario.run(base);
  const cases = FAULT_MODES.flatMap((mode) =>
    base.log.flatMap((method, failAt) => (tells(mode, method) ? [{ mode, failAt }] : [])),
  );
  const ran = new Map<FaultMode, number>();
  const lane = async () => {
    for (let next = cases.pop(); next !== undefined; next = cases.pop()) {
      const { mode, failAt } = next;
      const plan = faultPlan(failAt, mode, { stallMs: 30, delayMs: 15 });
      const { answers, leaks } = await scenario.run(plan);
      const what = `${mode} at call ${failAt}, ${plan.log[failAt]}`;
      assert.deepEqual(
        answers.map(({ ids, error }) => error ?? ids),
        scenario.expected,
        what,
      );
      assert.deepEqual(leaks, [], what);
      ran.set(mode, (ran.get(mode) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: scenario.lanes }, lane));
  const total = [...ran.values()].reduce((sum, count) => sum + count, 0);
  t.diagnostic(`${total} cases over ${base.log.length} calls: ${JSON.stringify(Object.fromEntries(ran))}`);
  assert.equal(ran.size, FAULT_MODES.length);
});
