import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { fromHex, toHex } from '../bytes.ts';
import {
  decodeHeader,
  encodeHeader,
  headerBytes,
  type ObjectHeader,
  payloadBytes,
  peekHeaderBytes,
  sealedPrefixBytes,
  sectionNonce,
} from './object-header.ts';

const folder = new URL('../../../test/golden/kv-object/', import.meta.url);
const golden = JSON.parse(readFileSync(new URL('expected.json', folder), 'utf8'));
const read = (file: string) => new Uint8Array(readFileSync(new URL(file, folder)));

interface GoldenObject {
  file: string;
  sha256: string;
  sealed: boolean;
  partial: boolean;
  namespace: string;
  parent_hash: string;
  first_token: number;
  token_count: number;
  kv_heads: number;
  head_dim: number;
  kv_dtype: string;
  codec: string;
  key_id: string;
  nonce_base: string;
  block_hashes: string[];
  layers: { offset: number; length: number; crc32: number }[];
}

for (const expected of golden.objects as GoldenObject[]) {
  test(`reads and writes back the golden object ${expected.file}`, () => {
    const bytes = read(expected.file);
    assert.equal(createHash('sha256').update(bytes).digest('hex'), expected.sha256);
    const header = decodeHeader(bytes);
    assert.equal(header.sealed, expected.sealed);
    assert.equal(header.partial, expected.partial);
    assert.equal(toHex(header.namespace), expected.namespace);
    assert.equal(toHex(header.parentHash), expected.parent_hash);
    assert.equal(header.firstToken, expected.first_token);
    assert.equal(header.tokenCount, expected.token_count);
    assert.equal(header.kvHeads, expected.kv_heads);
    assert.equal(header.headDim, expected.head_dim);
    assert.equal(header.kvDtype, expected.kv_dtype);
    assert.equal(header.codec, expected.codec);
    assert.equal(toHex(header.keyId), expected.key_id);
    assert.equal(toHex(header.nonceBase), expected.nonce_base);
    assert.deepEqual(header.blockHashes.map(toHex), expected.block_hashes);
    assert.deepEqual(header.layers, expected.layers);
    const length = peekHeaderBytes(bytes);
    assert.equal(length + payloadBytes(header), bytes.length);
    for (const layer of header.layers) {
      const at = length + layer.offset;
      assert.equal(crc32(bytes.subarray(at, at + layer.length)), layer.crc32);
    }
    assert.deepEqual(encodeHeader(header), bytes.slice(0, length));
  });
}

const valid = read('sealed.bin');

/** Changes a header in place and makes its digest right again, so that only the named check can refuse it. */
function altered(change: (view: DataView, bytes: Uint8Array) => void): Uint8Array {
  const bytes = valid.slice();
  change(new DataView(bytes.buffer), bytes);
  const length = Math.min(Math.max(new DataView(bytes.buffer).getUint32(8, true), 32), bytes.length);
  bytes.set(
    createHash('sha256')
      .update(bytes.subarray(0, length - 32))
      .digest(),
    length - 32,
  );
  return bytes;
}

const tableAt = sealedPrefixBytes(3);
const refusals: [string, (view: DataView, bytes: Uint8Array) => void, RegExp][] = [
  ['another magic', (view) => view.setUint32(0, 0x4b4b4b4b, true), /wrong magic/],
  ['format version 2, by name', (view) => view.setUint32(4, 2, true), /format version 2, this build reads 1/],
  ['a header length below the smallest', (view) => view.setUint32(8, 100, true), /absurd header length/],
  ['a header length above the largest', (view) => view.setUint32(8, 0xffffffff, true), /absurd header length/],
  ['a header length that contradicts its counts', (view) => view.setUint32(8, headerBytes(4, 2), true), /contradicts/],
  ['unknown flags', (view) => view.setUint32(12, 5, true), /unknown flags 5/],
  ['no blocks', (view) => view.setUint32(88, 0, true), /absurd block or layer count/],
  ['absurdly many blocks', (view) => view.setUint32(88, 4097, true), /absurd block or layer count/],
  ['no layers', (view) => view.setUint32(96, 0, true), /absurd block or layer count/],
  ['absurdly many layers', (view) => view.setUint32(96, 1025, true), /absurd block or layer count/],
  ['another block size', (view) => view.setUint32(92, 64, true), /other block size/],
  ['a first token inside a block', (view) => view.setUint32(80, 127, true), /other block size/],
  ['a token count of more blocks', (view) => view.setUint32(84, 385, true), /token count contradicts/],
  ['a token count of fewer blocks', (view) => view.setUint32(84, 256, true), /token count contradicts/],
  ['a partial block without its flag', (view) => view.setUint32(84, 383, true), /partial flag contradicts/],
  ['the partial flag without a partial block', (view) => view.setUint32(12, 3, true), /partial flag contradicts/],
  ['no heads', (view) => view.setUint32(100, 0, true), /absurd shape/],
  ['absurd head dimension', (view) => view.setUint32(104, 1025, true), /absurd shape/],
  ['an unknown dtype', (view) => view.setUint32(108, 9, true), /unknown KV dtype 9/],
  ['an unknown codec', (view) => view.setUint32(112, 99, true), /unknown codec 99/],
  ['a gap before the first section', (view) => view.setBigUint64(tableAt, 1n, true), /layer table/],
  ['overlapping sections', (view) => view.setBigUint64(tableAt + 24, 0n, true), /layer table/],
  ['an absurd section length', (view) => view.setBigUint64(tableAt + 8, 2n ** 60n, true), /layer table/],
];

for (const [what, change, reason] of refusals) {
  test(`refuses ${what}`, () => {
    assert.throws(() => decodeHeader(altered(change)), { code: 'store_unavailable', message: reason });
  });
}

test('refuses every truncation and every flipped bit of a header', () => {
  const length = peekHeaderBytes(valid);
  for (let end = 0; end < length; end++) assert.throws(() => decodeHeader(valid.subarray(0, end)));
  for (let bit = 0; bit < 8 * length; bit++) {
    const bytes = valid.slice(0, length);
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    assert.throws(() => decodeHeader(bytes), { code: 'store_unavailable' }, `bit ${bit}`);
  }
});

test('reads a header that lies inside a larger buffer', () => {
  const padded = new Uint8Array(valid.length + 7);
  padded.set(valid, 7);
  assert.deepEqual(decodeHeader(padded.subarray(7)), decodeHeader(valid));
});

test('each layer has its own nonce, and layer 0 the base itself', () => {
  const base = fromHex('00112233445566778899aabb');
  assert.equal(toHex(sectionNonce(base, 0)), '00112233445566778899aabb');
  assert.equal(toHex(sectionNonce(base, 0x01020304)), '00112233445566778c9aa8ba');
  const nonces = new Set(Array.from({ length: 1024 }, (_, layer) => toHex(sectionNonce(base, layer))));
  assert.equal(nonces.size, 1024);
});

test('writes any header that it can read', () => {
  const header: ObjectHeader = { ...decodeHeader(valid), firstToken: 128 * 1000, codec: 'raw', kvDtype: 'f32' };
  assert.deepEqual(decodeHeader(encodeHeader(header)), header);
});
