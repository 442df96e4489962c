import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type Codec, fromHex, type KvDtype, peekHeaderBytes, toHex } from '@longshore/core';
import { sectionBounds } from './domain/section-layout.ts';
import { Mismatch } from './fault.ts';
import { SealedObjectReader, sealObject } from './stored-object.ts';

/** The golden objects were sealed by test/golden/make_kv_object.ts, not by this package. */
const folder = new URL('../../../test/golden/kv-object/', import.meta.url);
const golden = JSON.parse(readFileSync(new URL('expected.json', folder), 'utf8'));
const key = { id: new Uint8Array(16), key: fromHex(golden.data_key) };

interface GoldenObject {
  file: string;
  sealed: boolean;
  partial: boolean;
  namespace: string;
  parent_hash: string;
  first_token: number;
  token_count: number;
  kv_heads: number;
  head_dim: number;
  kv_dtype: KvDtype;
  codec: Codec;
  key_id: string;
  nonce_base: string;
  block_hashes: string[];
  section_sha256: string[];
}

const sealedOnes = (golden.objects as GoldenObject[]).filter((object) => object.sealed);

function readerOf(object: GoldenObject, bytes: Uint8Array): SealedObjectReader {
  const shape = { kvHeads: object.kv_heads, headDim: object.head_dim, kvDtype: object.kv_dtype };
  const count = object.block_hashes.length;
  const lastTokens = object.token_count - 128 * (count - 1);
  const blocks = { firstBlock: object.first_token / 128, count, lastTokens };
  return new SealedObjectReader(bytes, {
    namespace: fromHex(object.namespace),
    shape: { ...shape, layers: golden.layer_count, codec: object.codec },
    codec: object.codec,
    storedBytes: bytes.length,
    sectionBytes: sectionBounds(shape, object.codec, blocks),
    keys: new Map([[object.key_id, key]]),
    contradiction: () => undefined,
  });
}

test('there are sealed golden objects to read', () => {
  assert.deepEqual(
    sealedOnes.map((object) => object.file),
    ['sealed.bin', 'partial.bin', 'sealed-lossless.bin'],
  );
});

for (const object of sealedOnes) {
  const bytes = new Uint8Array(readFileSync(new URL(object.file, folder)));

  test(`opens the golden object ${object.file}, whole and byte by byte as it arrives`, () => {
    const whole = readerOf(object, bytes);
    whole.advance(bytes.length);
    const slow = readerOf(object, bytes);
    assert.throws(() => slow.openSections(), Mismatch);
    for (let filled = 0; filled <= bytes.length; filled++) slow.advance(filled);
    for (const reader of [whole, slow])
      assert.deepEqual(
        reader.openSections().map((layer) => createHash('sha256').update(layer).digest('hex')),
        object.section_sha256,
      );
  });

  test(`writes the golden object ${object.file} back byte for byte`, () => {
    const reader = readerOf(object, bytes);
    reader.advance(bytes.length);
    const sealed = sealObject(
      {
        namespace: fromHex(object.namespace),
        shape: {
          layers: golden.layer_count,
          kvHeads: object.kv_heads,
          headDim: object.head_dim,
          kvDtype: object.kv_dtype,
          codec: object.codec,
        },
        codec: object.codec,
        partial: object.partial,
        parentHash: fromHex(object.parent_hash),
        firstToken: object.first_token,
        tokenCount: object.token_count,
        blockHashes: object.block_hashes.map(fromHex),
        sections: reader.openSections(),
      },
      { id: fromHex(object.key_id), key: key.key },
      fromHex(object.nonce_base),
    );
    assert.equal(toHex(sealed.bytes), toHex(bytes));
    assert.equal(sealed.headerBytes, peekHeaderBytes(bytes));
  });
}
