import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { createMemoryObjectStore } from '../adapters/memory-object-store.ts';
import { FAULT_MODES, type FaultMode, faultPlan, faulty } from './faulty.ts';

const BODY = Uint8Array.from({ length: 1000 }, (_, index) => index & 255);

async function open(failAt: number | undefined, mode: FaultMode, more = {}) {
  const store = createMemoryObjectStore();
  await store.put('kv/held', BODY, crc32(BODY));
  const plan = faultPlan(failAt, mode, more);
  return { store, plan, broken: faulty(store, plan) };
}
const read = async (store: { readInto(key: string, target: Uint8Array): Promise<void> }) => {
  const target = new Uint8Array(BODY.length);
  await store.readInto('kv/held', target);
  return target;
};
const differingBits = (a: Uint8Array, b: Uint8Array) =>
  a.reduce((sum, byte, index) => sum + (byte ^ b[index]!).toString(2).replaceAll('0', '').length, 0);

test('only the chosen call is changed, in every mode that does not last', async () => {
  for (const mode of FAULT_MODES.filter((each) => !each.startsWith('dead'))) {
    const { plan, broken } = await open(1, mode);
    assert.deepEqual(await read(broken), BODY, mode);
    await read(broken).catch(() => {});
    assert.deepEqual(await read(broken), BODY, mode);
    assert.deepEqual([plan.calls, plan.injected], [3, 1], mode);
  }
});

test('a read fails, stalls or lies as its mode says', async () => {
  const kindOf = async (mode: FaultMode) => {
    const { broken } = await open(0, mode);
    return read(broken).then(
      (bytes) => differingBits(bytes, BODY),
      (error) => error.kind,
    );
  };
  assert.deepEqual(await Promise.all(FAULT_MODES.map(kindOf)), [
    'unavailable',
    'unavailable',
    'unavailable',
    'unavailable',
    0,
    'timeout',
    'unavailable',
    'truncated',
    1,
    'missing',
  ]);
});

test('a put that lies reports success; one that fails says so, whether it took effect or not', async () => {
  const kept = async (mode: FaultMode) => {
    const { store, broken } = await open(0, mode);
    const outcome = await broken.put('kv/new', BODY, crc32(BODY)).then(
      () => 'ok',
      (error) => error.kind,
    );
    const bytes = store.objects.get('kv/new')?.bytes;
    return [outcome, bytes && (bytes.length === BODY.length ? differingBits(bytes, BODY) : 'half')];
  };
  assert.deepEqual(await kept('before'), ['unavailable', undefined]);
  assert.deepEqual(await kept('after'), ['unavailable', 0]);
  assert.deepEqual(await kept('reset'), ['unavailable', undefined]);
  assert.deepEqual(await kept('stall'), ['timeout', undefined]);
  assert.deepEqual(await kept('truncation'), ['ok', 'half']);
  assert.deepEqual(await kept('bit_flip'), ['ok', 1]);
  assert.deepEqual(await kept('nothing'), ['ok', undefined]);
});

test('a dead port stays dead; a lasting fault lasts', async () => {
  for (const [mode, more] of [
    ['dead', {}],
    ['before', { lasting: true }],
  ] as const) {
    const { broken, plan } = await open(1, mode, more);
    await read(broken);
    for (let again = 0; again < 3; again++) await assert.rejects(read(broken), { kind: 'unavailable' });
    assert.equal(plan.injected, 3);
  }
});

test('wrappers compose, count only the methods they are told, and a reader can end a stall', async () => {
  const { store } = await open(undefined, 'before');
  const flips = faultPlan(0, 'bit_flip', { methods: ['readInto'] });
  const stalls = faultPlan(1, 'stall', { stallMs: 60_000 });
  const broken = faulty(faulty(store, flips), stalls);
  assert.equal(differingBits(await read(broken), BODY), 1);
  const signal = AbortSignal.timeout(10);
  await assert.rejects(broken.readInto('kv/held', new Uint8Array(1), { signal }), { kind: 'cancelled' });
  await broken.head('kv/held');
  assert.deepEqual([flips.calls, stalls.calls], [1, 3]);
});
