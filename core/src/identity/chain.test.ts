import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fromHex, toHex } from '../bytes.ts';
import { type CacheIdentity, chainHashes, chainRoot, namespaceOf, nextHash } from './chain.ts';

const golden = JSON.parse(
  readFileSync(new URL('../../../test/golden/kv-object/expected.json', import.meta.url), 'utf8'),
).identity as {
  canonical_json: string;
  namespace: string;
  tenant_secret: string;
  h0: string;
  tokens: number[];
  block_hashes: string[];
  tail_hash: string;
};

const document = JSON.parse(golden.canonical_json);
const identity: CacheIdentity = {
  weights: document.weights,
  config: document.config,
  tokenizer: document.tokenizer,
  kvDtype: document.kv_dtype,
  codec: document.codec,
  codecParameter: document.codec_parameter,
  policy: document.policy,
  numerics: document.numerics,
};
const root = chainRoot(fromHex(golden.tenant_secret), fromHex(golden.namespace));

test('namespace, root, chain and tail equal the golden vectors that C++ reads too', () => {
  assert.equal(toHex(namespaceOf(identity)), golden.namespace);
  assert.equal(toHex(root), golden.h0);
  const hashes = chainHashes(root, golden.tokens);
  assert.deepEqual(hashes.map(toHex), golden.block_hashes);
  assert.equal(toHex(nextHash(hashes.at(-1)!, golden.tokens, 512, golden.tokens.length)), golden.tail_hash);
});

test('every part of the identity changes the namespace', () => {
  const changes: Partial<CacheIdentity>[] = [
    { weights: 'sha256:00' },
    { config: { family: 'qwen2' } },
    { tokenizer: 'sha256:00' },
    { kvDtype: 'f32' },
    { codec: 'raw' },
    { codecParameter: 1 },
    { policy: { prefill: 'block_energy' } },
    { numerics: 'cpu-avx512-1' },
  ];
  const names = new Set([
    toHex(namespaceOf(identity)),
    ...changes.map((change) => toHex(namespaceOf({ ...identity, ...change }))),
  ]);
  assert.equal(names.size, changes.length + 1);
});

test('another secret or namespace gives another chain', () => {
  const other = chainRoot(new Uint8Array(32), fromHex(golden.namespace));
  assert.notEqual(toHex(other), golden.h0);
  assert.notEqual(toHex(chainHashes(other, golden.tokens)[0]!), golden.block_hashes[0]);
});

test('chains share exactly the blocks before the first different token', () => {
  for (const at of [0, 127, 128, 300, 511]) {
    const tokens = [...golden.tokens];
    tokens[at]! ^= 1;
    const shared = chainHashes(root, tokens).filter((hash, index) => toHex(hash) === golden.block_hashes[index]).length;
    assert.equal(shared, Math.floor(at / 128));
  }
});

test('holds only complete blocks, and takes typed arrays like plain ones', () => {
  assert.equal(chainHashes(root, []).length, 0);
  assert.equal(chainHashes(root, golden.tokens.slice(0, 127)).length, 0);
  assert.equal(chainHashes(root, golden.tokens.slice(0, 128)).length, 1);
  assert.deepEqual(chainHashes(root, Uint32Array.from(golden.tokens)).map(toHex), golden.block_hashes);
});
