import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { decodeHeader, encodeHeader, peekHeaderBytes, toHex } from '@longshore/core';
import type { ObjectSlice } from './domain/slices.ts';
import type { Outcome } from './outcome.ts';
import type { TenantKeys } from './tenant-keys.ts';
import { chainOf, fillChain, type KvBench, openKvBench, tenantOf, type Worker } from './testing/kv-bench.ts';

let bench: KvBench;
let organizationId: string;
let worker: Worker;
let tenant: TenantKeys;
before(async () => {
  bench = await openKvBench();
  organizationId = await bench.organization();
  worker = bench.worker('w');
  tenant = await tenantOf(worker.store, organizationId);
});
after(() => bench.close());

function unwrap<T>(outcome: Outcome<T>): T {
  assert.ok(outcome.ok, outcome.ok ? '' : outcome.fault.message);
  return outcome.value;
}

let seeds = 100;
/** A freshly published chain of 3 blocks in one object. */
async function stored() {
  const { hashes } = chainOf(tenant, 3, seeds++);
  const publish = () =>
    worker.store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks: fillChain(worker.engine, 3) }).done;
  unwrap(await publish());
  const hit = unwrap(await worker.store.lookup({ tenant, hashes }));
  const slice = hit.slices[0]!;
  return { hashes, slice, publish, object: bench.objects.objects.get(slice.key)! };
}

/** Restores into untouched physical blocks and says what happened. */
let nextPhysical = 10_000;
async function restore(slice: ObjectSlice, as = tenant) {
  const physicalBlocks = Uint32Array.of(nextPhysical++, nextPhysical++, nextPhysical++);
  const outcome = await worker.store.restore({ tenant: as, slice, physicalBlocks });
  const touched = [...physicalBlocks].some((block) => worker.engine.imported(block) !== undefined);
  return { outcome, touched };
}

const stateOf = async (key: string) => (await bench.objectRows()).find((row) => row.key === key)!;

async function assertQuarantined(made: Awaited<ReturnType<typeof stored>>, what: string, reason?: RegExp) {
  const { outcome, touched } = await restore(made.slice);
  assert.ok(!outcome.ok && outcome.fault.kind === 'quarantined', what);
  assert.equal(touched, false, `${what}: nothing reaches the engine`);
  const row = await stateOf(made.slice.key);
  assert.equal(row.state, 'quarantined', what);
  if (reason) assert.match(row.retiredReason!, reason, what);
  const hit = unwrap(await worker.store.lookup({ tenant, hashes: made.hashes }));
  assert.deepEqual([hit.blockCount, hit.endedBy], [0, 'quarantined'], what);
  assert.equal(unwrap(await made.publish()).written, 3, `${what}: published anew`);
  const again = unwrap(await worker.store.lookup({ tenant, hashes: made.hashes }));
  assert.ok((await restore(again.slices[0]!)).outcome.ok, `${what}: readable again`);
}

test('a flipped bit anywhere in header, table, ciphertext or tag is quarantined and never imported', async () => {
  const { object } = await stored();
  const header = peekHeaderBytes(object.bytes);
  const size = object.bytes.length;
  const places = [0, 4, 8, 12, 16, 48, 80, 84, 88, 100, 108, 112, 116, 120, 136, 176, 250, header - 40, header - 1];
  for (const at of [...places, header, header + 5000, size - 17, size - 16, size - 1]) {
    const made = await stored();
    made.object.bytes[at]! ^= 0x10;
    await assertQuarantined(made, `byte ${at}`);
  }
  assert.equal(worker.store.stats().quarantinedObjects, places.length + 5);
});

test('a truncated or overlong object is quarantined', async () => {
  const short = await stored();
  short.object.bytes = short.object.bytes.slice(0, -1);
  await assertQuarantined(short, 'truncated');
  const empty = await stored();
  empty.object.bytes = new Uint8Array(0);
  await assertQuarantined(empty, 'empty');
});

test('a directory row with an absurd size is refused before a byte is allocated or read', async () => {
  const made = await stored();
  const absurd = { ...made.slice, storedBytes: 2 ** 45 };
  const { outcome, touched } = await restore(absurd);
  assert.ok(!outcome.ok && outcome.fault.kind === 'quarantined' && !touched);
  assert.match(outcome.fault.message, /size in the directory/);
});

/** Rewrites an object's header so that digest and checksums are right again, as an attacker with access to the bucket would. */
function forge(
  bytes: Uint8Array,
  change: (header: ReturnType<typeof decodeHeader>, payload: Uint8Array) => void,
): Uint8Array {
  const length = peekHeaderBytes(bytes);
  const header = decodeHeader(bytes);
  const payload = bytes.slice(length);
  change(header, payload);
  for (const layer of header.layers) layer.crc32 = crc32(payload.subarray(layer.offset, layer.offset + layer.length));
  return new Uint8Array(Buffer.concat([encodeHeader(header), payload]));
}

test('a forger without the key gets no byte in: every change under right checksums is refused for its own reason', async () => {
  const forgeries: [string, Parameters<typeof forge>[1], RegExp][] = [
    [
      'ciphertext',
      (_, payload) => {
        payload[100]! ^= 1;
      },
      /seal of layer 0/,
    ],
    [
      'a later layer',
      (header, payload) => {
        payload[header.layers[2]!.offset]! ^= 1;
      },
      /seal of layer 2/,
    ],
    [
      'nonce',
      (header) => {
        header.nonceBase[3]! ^= 1;
      },
      /seal of layer 0/,
    ],
    [
      'block hash',
      (header) => {
        header.blockHashes[1]![0]! ^= 1;
      },
      /hash of block 1 differs/,
    ],
    [
      'parent hash',
      (header) => {
        header.parentHash[0]! ^= 1;
      },
      /parent hash differs/,
    ],
    [
      'first token',
      (header) => {
        header.firstToken = 128;
      },
      /first token differs/,
    ],
    [
      'namespace',
      (header) => {
        header.namespace[0]! ^= 1;
      },
      /namespace differs/,
    ],
    [
      'not sealed',
      (header) => {
        header.sealed = false;
      },
      /not sealed/,
    ],
    [
      'codec',
      (header) => {
        header.codec = 'raw';
      },
      /codec differs/,
    ],
    [
      'codec parameter',
      (header) => {
        header.codecParameter = 1;
      },
      /codec differs/,
    ],
    [
      'dtype',
      (header) => {
        header.kvDtype = 'f32';
      },
      /dtype differs/,
    ],
    [
      'heads',
      (header) => {
        header.kvHeads = 4;
      },
      /shape differs/,
    ],
    [
      'key id',
      (header) => {
        header.keyId[0]! ^= 1;
      },
      /unknown key/,
    ],
    [
      'swapped layers',
      (header, payload) => {
        const [first, second] = header.layers;
        const copy = payload.slice();
        payload.set(copy.subarray(second!.offset, second!.offset + second!.length), first!.offset);
        payload.set(copy.subarray(first!.offset, first!.offset + first!.length), second!.offset);
      },
      /seal of layer 0/,
    ],
  ];
  for (const [what, change, reason] of forgeries) {
    const made = await stored();
    made.object.bytes = forge(made.object.bytes, change);
    await assertQuarantined(made, what, reason);
  }
});

test('an object put in place of another of the same tenant and size is refused', async () => {
  const [a, b] = [await stored(), await stored()];
  assert.equal(a.object.bytes.length, b.object.bytes.length);
  a.object.bytes = b.object.bytes.slice();
  await assertQuarantined(a, 'swapped objects', /hash of block 0 differs/);
  assert.ok((await restore(b.slice)).outcome.ok);
});

test("another tenant's keys open nothing, whatever the directory says", async () => {
  const made = await stored();
  const stranger = await tenantOf(worker.store, await bench.organization());
  const { outcome, touched } = await restore(made.slice, stranger);
  assert.ok(!outcome.ok && !touched);
  assert.equal((await stateOf(made.slice.key)).state, 'ready', 'a stranger quarantines nothing');
  assert.ok((await restore(made.slice)).outcome.ok);
});

test('an object that is gone is taken off the directory; an unreachable store takes off nothing', async () => {
  const made = await stored();
  bench.objects.objects.delete(made.slice.key);
  const { outcome } = await restore(made.slice);
  assert.equal(outcome.ok || outcome.fault.kind, 'missing');
  assert.equal((await stateOf(made.slice.key)).state, 'quarantined');
});

test('a cancelled restore imports nothing and quarantines nothing', async () => {
  const made = await stored();
  const outcome = await worker.store.restore({
    tenant,
    slice: made.slice,
    physicalBlocks: Uint32Array.of(1, 2, 3),
    signal: AbortSignal.abort(),
  });
  assert.equal(outcome.ok || outcome.fault.kind, 'cancelled');
  assert.equal((await stateOf(made.slice.key)).state, 'ready');
});

test('in a run with one bad object the part before it is kept, the rest is not counted, and the run says why', async () => {
  const small = bench.worker('small', {
    shape: { layers: 2, kvHeads: 64, headDim: 256, kvDtype: 'bf16', codec: 'raw' },
  });
  assert.equal(small.store.blocksPerObject, 1);
  const { hashes } = chainOf(tenant, 5, 999);
  unwrap(await small.store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks: fillChain(small.engine, 5) }).done);
  const hit = unwrap(await small.store.lookup({ tenant, hashes }));
  assert.equal(hit.slices.length, 5);
  bench.objects.objects.get(hit.slices[3]!.key)!.bytes[9000]! ^= 1;
  const run = await small.store.restoreRun({
    tenant,
    slices: hit.slices,
    physicalBlocks: Uint32Array.of(0, 1, 2, 3, 4),
  });
  assert.equal(run.blocks, 3);
  assert.equal(run.fault?.kind, 'quarantined');
  const after = unwrap(await small.store.lookup({ tenant, hashes }));
  assert.deepEqual([after.blockCount, after.endedBy], [3, 'quarantined']);
});

test('what lies in the bucket tells nothing of the KV, and two objects of one content differ', async () => {
  const made = await stored();
  const plain = worker.engine.expected(1001, 0, 'int8', 1);
  assert.equal(Buffer.from(made.object.bytes).indexOf(plain.subarray(0, 16)), -1);
  const before = createHash('sha256').update(made.object.bytes).digest('hex');
  unwrap(await worker.store.remove(tenant, made.hashes));
  unwrap(await made.publish());
  const hit = unwrap(await worker.store.lookup({ tenant, hashes: made.hashes }));
  const object = bench.objects.objects.get(hit.slices[0]!.key)!;
  assert.notEqual(createHash('sha256').update(object.bytes).digest('hex'), before);
  assert.notEqual(toHex(decodeHeader(object.bytes).nonceBase), toHex(decodeHeader(made.object.bytes).nonceBase));
});
