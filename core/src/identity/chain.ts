import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { utf8 } from '../bytes.ts';
import { type CanonicalValue, canonicalJson } from './canonical-json.ts';

/** Tokens of KV per block, for all layers: the unit of paging, hashing, sparse selection and storage. */
export const BLOCK_TOKENS = 128;
export const HASH_BYTES = 32;

/** Everything that decides the bytes of a published block besides its tokens (docs/design/0001). */
export interface CacheIdentity {
  /** "sha256:…" of the weight files. */
  weights: string;
  /** The engine's canonical model configuration. */
  config: CanonicalValue;
  /** "sha256:…" of the tokenizer. */
  tokenizer: string;
  kvDtype: 'bf16' | 'f32';
  codec: 'raw' | 'int8' | 'lossless' | 'int4';
  codecParameter: number;
  /** The attention policy and its parameters; `{"prefill":"dense"}` for dense. */
  policy: CanonicalValue;
  /** The engine's numerics string: ISA path and version. */
  numerics: string;
}

export function namespaceOf(identity: CacheIdentity): Uint8Array {
  const document = canonicalJson({
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
  });
  return sha256(utf8(document));
}

/** h0 = HMAC-SHA-256(tenant secret, namespace): the chain of one tenant tells nothing about another's. */
export function chainRoot(tenantSecret: Uint8Array, namespace: Uint8Array): Uint8Array {
  return hmac(sha256, tenantSecret, namespace);
}

function littleEndianTokens(tokens: ArrayLike<number>, start: number, end: number): Uint8Array {
  const bytes = new Uint8Array(4 * (end - start));
  const view = new DataView(bytes.buffer);
  for (let index = start; index < end; index++) view.setUint32(4 * (index - start), tokens[index]!, true);
  return bytes;
}

/** h(i) = SHA-256(h(i-1) || u32-LE token ids of block i). Also used for a partial tail, over its fewer tokens. */
export function nextHash(parent: Uint8Array, tokens: ArrayLike<number>, start: number, end: number): Uint8Array {
  return sha256
    .create()
    .update(parent)
    .update(littleEndianTokens(tokens, start, end))
    .digest();
}

/** Hashes of all complete blocks of `tokens`, in order; the partial last block is left out. */
export function chainHashes(root: Uint8Array, tokens: ArrayLike<number>): Uint8Array[] {
  const hashes: Uint8Array[] = [];
  let parent = root;
  for (let end = BLOCK_TOKENS; end <= tokens.length; end += BLOCK_TOKENS) {
    parent = nextHash(parent, tokens, end - BLOCK_TOKENS, end);
    hashes.push(parent);
  }
  return hashes;
}
