import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BLOCK_TOKENS, type Codec, chainHashes, namespaceOf, nextHash } from '@longshore/core';
import { type LocalS3, startLocalS3 } from '@longshore/infra/testing';
import { type Engine, open } from '@longshore/native';
import { createS3ObjectStore } from './adapters/s3-object-store.ts';
import type { KvShape } from './kv-store.ts';
import type { Outcome } from './outcome.ts';
import { IDENTITY, type KvBench, openKvBench, tenantOf } from './testing/kv-bench.ts';
import { createHostTier } from './tiers/host-tier.ts';

/** The whole way: a real engine's KV through the real S3 server and Postgres into another engine of the same model. */

const MODEL = fileURLToPath(new URL('../../../test/golden/tiny/llama', import.meta.url));
/** Three complete blocks and a tail of 45. */
const TOKENS = Uint32Array.from(
  { length: 3 * BLOCK_TOKENS + 45 },
  (_, index) => (Math.imul(index + 7, 2654435761) >>> 9) % 160,
);
const PROBE = 11;

let bench: KvBench;
let server: LocalS3;
let writer: Engine;
let reader: Engine;
const openTiny = () => open({ model: MODEL, kvBlocks: 16, threads: 2 });
before(async () => {
  [bench, server, writer, reader] = await Promise.all([openKvBench(), startLocalS3(), openTiny(), openTiny()]);
});
after(async () => {
  await Promise.all([writer.close(), reader.close()]);
  await bench.close();
  await server.stop();
});

function unwrap<T>(outcome: Outcome<T>): T {
  assert.ok(outcome.ok, outcome.ok ? '' : outcome.fault.message);
  return outcome.value;
}

async function logitsOf(
  engine: Engine,
  tokens: Uint32Array,
  position: number,
  blockTable: Uint32Array,
): Promise<Float32Array> {
  const [output] = await engine.step([{ tokens, position, blockTable, wantLogits: true }]);
  return output!.logits!;
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  assert.equal(a.length, b.length);
  return a.reduce((most, value, index) => Math.max(most, Math.abs(value - b[index]!)), 0);
}

/** Prefills on one engine, moves everything through the store, and continues on the other; the next token's logits of both. */
async function moveAndContinue(codec: Codec) {
  const { layers, kvHeads, headDim, kvDtype } = writer.info;
  const shape: KvShape = { layers, kvHeads, headDim, kvDtype, codec };
  const objects = createS3ObjectStore(server.options);
  const options = {
    shape,
    objects,
    namespace: namespaceOf({ ...IDENTITY, codec, weights: writer.info.weightsDigest }),
  };
  const a = bench.worker('writer', { ...options, engine: writer }).store;
  const b = bench.worker('reader', { ...options, engine: reader }).store;
  try {
    const organizationId = await bench.organization();
    const tenant = await tenantOf(a, organizationId);
    const hashes = chainHashes(tenant.root, TOKENS);
    const table = Uint32Array.of(3, 9, 1, 12);
    await writer.step([{ tokens: TOKENS, position: 0, blockTable: table }]);

    const handle = a.publish({ tenant, hashes, firstBlock: 0, physicalBlocks: table.slice(0, 3) });
    const firstToken = 3 * BLOCK_TOKENS;
    const parentHash = hashes[2]!;
    const tail = {
      tenant,
      parentHash,
      hash: nextHash(parentHash, TOKENS, firstToken, TOKENS.length),
      firstToken,
      tokenCount: TOKENS.length - firstToken,
    };
    const stored = unwrap(await a.putTail({ ...tail, sessionId: 'ses_x', physicalBlock: table[3]! }));
    unwrap(await handle.done);
    const expected = await logitsOf(writer, Uint32Array.of(PROBE), TOKENS.length, table);

    const hit = unwrap(await b.lookup({ tenant, hashes }));
    assert.equal(hit.blockCount, 3);
    const target = Uint32Array.of(0, 5, 2, 7);
    const run = await b.restoreRun({ tenant, slices: hit.slices, physicalBlocks: target.slice(0, 3) });
    assert.deepEqual([run.blocks, run.fault], [3, undefined]);
    unwrap(await b.getTail({ ...tail, objectKey: stored.objectKey, physicalBlock: target[3]! }));
    return { expected, restored: await logitsOf(reader, Uint32Array.of(PROBE), TOKENS.length, target) };
  } finally {
    await objects.close();
  }
}

describe('KV of a real engine, moved to another through S3', () => {
  for (const codec of ['raw', 'lossless'] as const)
    test(`${codec}: the next logits are bit-equal`, async () => {
      const { expected, restored } = await moveAndContinue(codec);
      assert.ok(
        expected.some((value) => value !== expected[0]),
        'the logits are not trivial',
      );
      assert.deepEqual(restored, expected);
    });

  for (const [codec, most] of [
    ['int8', 0.02],
    ['int4', 0.2],
  ] as const)
    test(`${codec}: the next logits are close, and not equal by accident of an unused codec`, async (context) => {
      const { expected, restored } = await moveAndContinue(codec);
      const difference = largestDifference(restored, expected);
      const range = Math.max(...expected) - Math.min(...expected);
      context.diagnostic(`largest logit difference ${difference} in a range of ${range}`);
      assert.ok(difference > 0 && difference < most * range, `${difference} of ${range}`);
    });

  test('what a near tier keeps of an object that the engine opened is the sealed object, and restores again', async () => {
    const { layers, kvHeads, headDim, kvDtype } = writer.info;
    const shape: KvShape = { layers, kvHeads, headDim, kvDtype, codec: 'raw' };
    const near = createHostTier({ budgetBytes: 64 * 1024 * 1024, ttlMs: 600_000, now: () => performance.now() });
    const objects = createS3ObjectStore(server.options);
    const options = { shape, objects, namespace: namespaceOf({ ...IDENTITY, codec: 'raw' }) };
    const a = bench.worker('near-writer', { ...options, engine: writer }).store;
    const b = bench.worker('near-reader', { ...options, engine: reader, tiers: [near] }).store;
    try {
      const tenant = await tenantOf(a, await bench.organization());
      const hashes = chainHashes(tenant.root, TOKENS);
      await writer.step([{ tokens: TOKENS, position: 0, blockTable: Uint32Array.of(0, 1, 2, 3) }]);
      unwrap(await a.publish({ tenant, hashes, firstBlock: 0, physicalBlocks: Uint32Array.of(0, 1, 2) }).done);
      const [slice] = unwrap(await b.lookup({ tenant, hashes })).slices;
      const request = { tenant, slice: slice!, physicalBlocks: Uint32Array.of(4, 5, 6) };
      assert.equal(unwrap(await b.restore(request)).tier, 's3');
      while (b.tierOf(slice!.key) !== 'host') await new Promise((resolve) => setImmediate(resolve));
      const [kept, stored] = [Buffer.alloc(slice!.storedBytes), Buffer.alloc(slice!.storedBytes)];
      assert.ok(await near.readInto(slice!.key, kept));
      await objects.readInto(slice!.key, stored);
      assert.ok(kept.equals(stored), 'sealed, byte for byte');
      assert.equal(unwrap(await b.restore(request)).tier, 'host');
    } finally {
      await objects.close();
    }
  });
});
