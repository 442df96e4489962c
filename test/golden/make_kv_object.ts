/**
 * Writes test/golden/kv-object/: identity vectors and small stored objects (docs/design/0001-stored-block-format.md) that
 * TypeScript and C++ must both read. Regenerate: node test/golden/make_kv_object.ts (Node 24). The output never changes unless
 * the format does; core's and workers-gpu's tests and native/test/kv_*_test.cc check it.
 */
import { createCipheriv, createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import {
  BLOCK_TOKENS,
  type CacheIdentity,
  type Codec,
  canonicalJson,
  chainHashes,
  chainRoot,
  encodeHeader,
  type KvDtype,
  namespaceOf,
  nextHash,
  type ObjectHeader,
  sealedPrefixBytes,
  sectionNonce,
  toHex,
} from '../../core/src/index.ts';
import { encodeInt4Block } from './int4_twin.ts';
import { dtypeBytes, encodeInt8Block, type GoldenShape, rawBlockBytes, writeElement } from './int8_twin.ts';
import { encodeLosslessBlock } from './lossless_twin.ts';

const FOLDER = fileURLToPath(new URL('./kv-object/', import.meta.url));
const LAYERS = 2;
const KV_HEADS = 2;
const HEAD_DIM = 4;
const TAIL_TOKENS = 37;

const bytesFrom = (length: number, seed: number) =>
  Uint8Array.from({ length }, (_, index) => (index * 37 + seed * 101 + 11) & 0xff);
const sha256Hex = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

const identity: CacheIdentity = {
  weights: `sha256:${'ab'.repeat(32)}`,
  tokenizer: `sha256:${'cd'.repeat(32)}`,
  config: {
    family: 'llama',
    layers: LAYERS,
    rope: { theta: '10000.5', scaling: null },
    tied: true,
    nested: [1, 'é', -2],
  },
  kvDtype: 'bf16',
  codec: 'int8',
  codecParameter: 0,
  policy: { prefill: 'dense' },
  numerics: 'cpu-golden-1',
};
const namespace = namespaceOf(identity);
const tenantSecret = bytesFrom(32, 1);
const dataKey = bytesFrom(32, 2);
const keyId = bytesFrom(16, 3);
const root = chainRoot(tenantSecret, namespace);
const tokens = Array.from(
  { length: 4 * BLOCK_TOKENS + TAIL_TOKENS },
  (_, index) => Math.imul(index + 1, 2654435761) >>> (index % 3 === 0 ? 0 : 16),
);
const hashes = chainHashes(root, tokens);
const tailHash = nextHash(hashes[3]!, tokens, 4 * BLOCK_TOKENS, tokens.length);

/** A block of one layer: smooth values, one channel and one token of zeros, an outlier, exact ties of the rounding. */
function rawBlock(shape: GoldenShape, layer: number, block: number, count: number): Uint8Array {
  const bytes = new Uint8Array(rawBlockBytes(shape, count));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (let half = 0; half < 2; half++)
    for (let head = 0; head < shape.kvHeads; head++)
      for (let token = 0; token < count; token++)
        for (let channel = 0; channel < shape.headDim; channel++) {
          const mix = Math.imul(
            ((layer * 5 + block) * 2 + half) * 977 + head * 131 + token * 17 + channel + 1,
            0x9e3779b1,
          );
          let value = ((mix >>> 8) / 2 ** 24 - 0.5) * (channel === 1 ? 40 : 2);
          if (channel === 2 && head === 0) value = 0;
          if (token === 5) value = 0;
          if (channel === 3 && head === 1) value = token === 0 ? 127 : (token % 7) - 3 + 0.5;
          writeElement(view, at, shape.dtype, value);
          at += dtypeBytes(shape.dtype);
        }
  return bytes;
}

interface Plan {
  name: string;
  codec: Codec;
  dtype: KvDtype;
  sealed: boolean;
  firstBlock: number;
  tokenCount: number;
}

const plans: Plan[] = [
  { name: 'raw', codec: 'raw', dtype: 'bf16', sealed: false, firstBlock: 0, tokenCount: 256 },
  { name: 'raw-f32', codec: 'raw', dtype: 'f32', sealed: false, firstBlock: 1, tokenCount: 128 },
  { name: 'int8', codec: 'int8', dtype: 'bf16', sealed: false, firstBlock: 0, tokenCount: 256 },
  { name: 'int8-f32', codec: 'int8', dtype: 'f32', sealed: false, firstBlock: 1, tokenCount: 128 },
  { name: 'sealed', codec: 'int8', dtype: 'bf16', sealed: true, firstBlock: 1, tokenCount: 384 },
  { name: 'partial', codec: 'raw', dtype: 'bf16', sealed: true, firstBlock: 4, tokenCount: TAIL_TOKENS },
  { name: 'partial-int8', codec: 'int8', dtype: 'bf16', sealed: false, firstBlock: 3, tokenCount: 128 + TAIL_TOKENS },
  { name: 'lossless', codec: 'lossless', dtype: 'bf16', sealed: false, firstBlock: 0, tokenCount: 256 },
  {
    name: 'lossless-f32',
    codec: 'lossless',
    dtype: 'f32',
    sealed: false,
    firstBlock: 3,
    tokenCount: 128 + TAIL_TOKENS,
  },
  { name: 'sealed-lossless', codec: 'lossless', dtype: 'bf16', sealed: true, firstBlock: 1, tokenCount: 384 },
  { name: 'int4', codec: 'int4', dtype: 'bf16', sealed: false, firstBlock: 0, tokenCount: 256 },
  { name: 'int4-f32', codec: 'int4', dtype: 'f32', sealed: false, firstBlock: 3, tokenCount: 128 + TAIL_TOKENS },
];

function encodeBlock(codec: Codec, block: number, raw: Uint8Array, shape: GoldenShape, count: number) {
  if (codec === 'int4' && block > 0) return encodeInt4Block(raw, shape, count);
  if (codec === 'lossless' || codec === 'int4')
    return { encoded: encodeLosslessBlock(raw, shape, count), decoded: raw };
  if (codec === 'raw' || block === 0) return { encoded: raw, decoded: raw };
  return encodeInt8Block(raw, shape, count);
}

function make(plan: Plan, planIndex: number) {
  const shape: GoldenShape = { kvHeads: KV_HEADS, headDim: HEAD_DIM, dtype: plan.dtype };
  const blockCount = Math.ceil(plan.tokenCount / BLOCK_TOKENS);
  const rawSections: Uint8Array[] = [];
  const sections: Uint8Array[] = [];
  const decoded: Uint8Array[] = [];
  for (let layer = 0; layer < LAYERS; layer++) {
    const parts: { raw: Uint8Array; encoded: Uint8Array; decoded: Uint8Array }[] = [];
    for (let index = 0; index < blockCount; index++) {
      const count = Math.min(BLOCK_TOKENS, plan.tokenCount - index * BLOCK_TOKENS);
      const block = plan.firstBlock + index;
      const raw = rawBlock(shape, layer, block, count);
      parts.push({ raw, ...encodeBlock(plan.codec, block, raw, shape, count) });
    }
    rawSections.push(Buffer.concat(parts.map((part) => part.raw)));
    sections.push(Buffer.concat(parts.map((part) => part.encoded)));
    decoded.push(Buffer.concat(parts.map((part) => part.decoded)));
  }
  const nonceBase = plan.sealed ? bytesFrom(12, 40 + planIndex) : new Uint8Array(12);
  const all = [...hashes, tailHash];
  const header: ObjectHeader = {
    sealed: plan.sealed,
    partial: plan.tokenCount % BLOCK_TOKENS !== 0,
    namespace,
    parentHash: plan.firstBlock === 0 ? root : all[plan.firstBlock - 1]!,
    firstToken: plan.firstBlock * BLOCK_TOKENS,
    tokenCount: plan.tokenCount,
    kvHeads: KV_HEADS,
    headDim: HEAD_DIM,
    kvDtype: plan.dtype,
    codec: plan.codec,
    codecParameter: 0,
    keyId: plan.sealed ? keyId : new Uint8Array(16),
    nonceBase,
    blockHashes: all.slice(plan.firstBlock, plan.firstBlock + blockCount),
    layers: [],
  };
  const additional = encodeHeader({ ...header, layers: [] })
    .subarray(0, sealedPrefixBytes(blockCount))
    .slice();
  // The layer count and the header's length stand before the layer table, inside what is authenticated.
  const view = new DataView(additional.buffer);
  view.setUint32(8, 176 + 32 * blockCount + 24 * LAYERS + 32, true);
  view.setUint32(96, LAYERS, true);
  const stored = sections.map((section, layer) => {
    if (!plan.sealed) return section;
    const cipher = createCipheriv('aes-256-gcm', dataKey, sectionNonce(nonceBase, layer));
    cipher.setAAD(additional);
    return Buffer.concat([cipher.update(section), cipher.final(), cipher.getAuthTag()]);
  });
  let offset = 0;
  header.layers = stored.map((section) => {
    const entry = { offset, length: section.length, crc32: crc32(section) };
    offset += section.length;
    return entry;
  });
  const object = Buffer.concat([encodeHeader(header), ...stored]);
  writeFileSync(`${FOLDER}${plan.name}.bin`, object);
  return {
    file: `${plan.name}.bin`,
    sha256: sha256Hex(object),
    sealed: header.sealed,
    partial: header.partial,
    namespace: toHex(header.namespace),
    parent_hash: toHex(header.parentHash),
    first_token: header.firstToken,
    token_count: header.tokenCount,
    kv_heads: KV_HEADS,
    head_dim: HEAD_DIM,
    kv_dtype: plan.dtype,
    codec: plan.codec,
    key_id: toHex(header.keyId),
    nonce_base: toHex(nonceBase),
    block_hashes: header.blockHashes.map(toHex),
    layers: header.layers,
    /** Of each layer: the KV before the codec, the section after it, and what a reader decodes it to. */
    raw_sha256: rawSections.map(sha256Hex),
    section_sha256: sections.map(sha256Hex),
    decoded_sha256: decoded.map(sha256Hex),
    /** Layer 0's KV before the codec, so that an encoder can be checked byte for byte. */
    raw_layer0: toHex(rawSections[0]!),
  };
}

mkdirSync(FOLDER, { recursive: true });
const expected = {
  regenerate: 'node test/golden/make_kv_object.ts',
  identity: {
    canonical_json: canonicalJson({
      block_tokens: BLOCK_TOKENS,
      codec: identity.codec,
      codec_parameter: identity.codecParameter,
      config: identity.config,
      format: 1,
      kv_dtype: identity.kvDtype,
      numerics: identity.numerics,
      policy: identity.policy,
      tokenizer: identity.tokenizer,
      weights: identity.weights,
    }),
    namespace: toHex(namespace),
    tenant_secret: toHex(tenantSecret),
    h0: toHex(root),
    tokens,
    block_hashes: hashes.map(toHex),
    /** Over the last 37 tokens. */
    tail_hash: toHex(tailHash),
  },
  data_key: toHex(dataKey),
  layer_count: LAYERS,
  objects: plans.map(make),
};
writeFileSync(`${FOLDER}expected.json`, `${JSON.stringify(expected, null, 1)}\n`);
