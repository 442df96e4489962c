import assert from 'node:assert/strict';
import { createCipheriv, randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { crc32 } from 'node:zlib';
import { BLOCK_TOKENS, type Codec, type Engine, EngineError, type SealedLayers } from './index.ts';
import { openTiny, someTokens } from './tiny-model.ts';

/** node:crypto seals, the engine opens: the two must agree bit by bit. */

let engine: Engine;
before(async () => {
  engine = await openTiny();
  const tokens = someTokens(3 * BLOCK_TOKENS);
  await engine.step([{ tokens, position: 0, blockTable: Uint32Array.of(0, 1, 2) }]);
});
after(() => engine.close());

const ADDITIONAL = 208;
const corrupt = (error: unknown) => error instanceof EngineError && error.code === 'corrupt';

function seal(layers: readonly Uint8Array[]): SealedLayers {
  const additional = randomBytes(ADDITIONAL);
  const [key, nonceBase] = [randomBytes(32), randomBytes(12)];
  const parts = [additional];
  const sections: number[] = [];
  let at = ADDITIONAL;
  layers.forEach((layer, index) => {
    const nonce = Buffer.from(nonceBase);
    nonce.writeUInt32LE((nonce.readUInt32LE(8) ^ index) >>> 0, 8);
    const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(additional);
    const stored = Buffer.concat([cipher.update(layer), cipher.final(), cipher.getAuthTag()]);
    sections.push(at, stored.length, crc32(stored));
    parts.push(stored);
    at += stored.length;
  });
  return {
    bytes: new Uint8Array(Buffer.concat(parts)),
    additionalBytes: ADDITIONAL,
    key,
    nonceBase,
    sections: Uint32Array.from(sections),
  };
}

const exported = async (blocks: number[], codec: Codec, firstToken: number, lastTokens?: number) =>
  (await engine.exportBlocks(Uint32Array.from(blocks), codec, firstToken, lastTokens)).layers;

test('a sealed object gives the blocks that its opened sections give, under every codec', async () => {
  for (const codec of ['raw', 'int8'] as const) {
    const layers = await exported([0, 1, 2], codec, 0);
    await engine.importBlocks(Uint32Array.of(3, 4, 5), codec, layers, 0);
    const expected = await exported([3, 4, 5], 'raw', 0);
    await engine.importSealed(Uint32Array.of(7, 6, 3), codec, seal(layers), 0, 0);
    assert.deepEqual(await exported([7, 6, 3], 'raw', 0), expected);
  }
});

test('only the wanted blocks of an object are written', async () => {
  for (const codec of ['raw', 'int8'] as const) {
    const layers = await exported([0, 1, 2], codec, 0);
    await engine.importBlocks(Uint32Array.of(3, 4, 5), codec, layers, 0);
    const [before, expected] = [await exported([7], 'raw', 128), await exported([4, 5], 'raw', 128)];
    await engine.importSealed(Uint32Array.of(6, 3), codec, seal(layers), 128, 1);
    assert.deepEqual(await exported([6, 3], 'raw', 128), expected);
    assert.deepEqual(await exported([7], 'raw', 128), before);
  }
});

test('a partial last block takes part', async () => {
  const layers = await exported([0, 1], 'raw', 0, 5);
  await engine.importSealed(Uint32Array.of(5, 6), 'raw', seal(layers), 0, 0, 5);
  assert.deepEqual(await exported([5, 6], 'raw', 0, 5), layers);
});

test('any changed bit of text, tag, checksum, key, nonce or header is corrupt, and no block is written', async () => {
  const layers = await exported([0, 1], 'raw', 0);
  const before = await exported([6, 7], 'raw', 0);
  const refuses = (change: (sealed: SealedLayers) => void) => {
    const sealed = seal(layers);
    change(sealed);
    return assert.rejects(engine.importSealed(Uint32Array.of(6, 7), 'raw', sealed, 0, 0), corrupt);
  };
  /** Flips a byte of layer 1 and makes its checksum right again, so that only the seal can notice. */
  const flip = (sealed: SealedLayers, at: number) => {
    const [offset, bytes] = sealed.sections.subarray(3, 5) as unknown as [number, number];
    sealed.bytes[offset + (at < 0 ? bytes + at : at)]! ^= 1;
    sealed.sections[5] = crc32(sealed.bytes.subarray(offset, offset + bytes));
  };
  await refuses((sealed) => flip(sealed, 0));
  await refuses((sealed) => flip(sealed, 4321));
  await refuses((sealed) => flip(sealed, -17));
  await refuses((sealed) => flip(sealed, -1));
  await refuses((sealed) => (sealed.sections[2]! ^= 1));
  await refuses((sealed) => (sealed.key[31]! ^= 128));
  await refuses((sealed) => (sealed.nonceBase[0]! ^= 1));
  await refuses((sealed) => (sealed.bytes[ADDITIONAL - 1]! ^= 1));
  assert.deepEqual(await exported([6, 7], 'raw', 0), before);
});

test('a table that points outside the object, or holds too little, is corrupt', async () => {
  const layers = await exported([0], 'raw', 0);
  const refuses = (change: (sealed: SealedLayers) => SealedLayers) =>
    assert.rejects(engine.importSealed(Uint32Array.of(6, 7), 'raw', change(seal(layers)), 0, 0), corrupt);
  await refuses((sealed) => ({ ...sealed, sections: sealed.sections.with(0, 0xffffffff) }));
  await refuses((sealed) => ({ ...sealed, sections: sealed.sections.with(1, 0xffffffff) }));
  await refuses((sealed) => ({ ...sealed, sections: sealed.sections.with(1, 16) }));
  await refuses((sealed) => ({ ...sealed, sections: sealed.sections.subarray(3) }));
  await refuses((sealed) => sealed);
});

test('arguments that are not what they should be are refused', async () => {
  const sealed = seal(await exported([0], 'raw', 0));
  const invalid = (error: unknown) => error instanceof EngineError && error.code === 'invalid_argument';
  const refuses = (wrong: Partial<SealedLayers>, skip = 0) =>
    assert.rejects(engine.importSealed(Uint32Array.of(6), 'raw', { ...sealed, ...wrong }, 0, skip), invalid);
  await refuses({ key: new Uint8Array(16) });
  await refuses({ nonceBase: new Uint8Array(16) });
  await refuses({ additionalBytes: 2 ** 31 });
  await refuses({ sections: Uint32Array.of(1, 2) });
  await refuses({}, 1);
});
