import { sha256 } from '@noble/hashes/sha2.js';
import { equalBytes } from '../bytes.ts';
import { LongshoreError } from '../errors.ts';
import { BLOCK_TOKENS, HASH_BYTES } from '../identity/chain.ts';

/** The stored object's header, docs/design/0001-stored-block-format.md. */
export const OBJECT_FORMAT = 1;
export const FIXED_HEADER_BYTES = 176;
const LAYER_ENTRY_BYTES = 24;
const MAX_BLOCKS = 4096;
const MAX_DIMENSION = 1024;
const MAGIC = 0x564b534c; // "LSKV" little-endian
const FLAG_SEALED = 1;
const FLAG_PARTIAL = 2;

export const KV_DTYPE_ID = { bf16: 1, f32: 2 } as const;
export const CODEC_ID = { raw: 1, int8: 2, lossless: 3, int4: 4 } as const;
export type KvDtype = keyof typeof KV_DTYPE_ID;
export type Codec = keyof typeof CODEC_ID;

export interface LayerEntry {
  /** Bytes from the payload's start. */
  offset: number;
  /** Stored bytes, the seal's tag included. */
  length: number;
  crc32: number;
}

export interface ObjectHeader {
  sealed: boolean;
  /** The last block holds fewer than 128 tokens: a session's tail. */
  partial: boolean;
  namespace: Uint8Array;
  parentHash: Uint8Array;
  firstToken: number;
  tokenCount: number;
  kvHeads: number;
  headDim: number;
  kvDtype: KvDtype;
  codec: Codec;
  codecParameter: number;
  keyId: Uint8Array;
  nonceBase: Uint8Array;
  blockHashes: Uint8Array[];
  layers: LayerEntry[];
}

export function headerBytes(blocks: number, layers: number): number {
  return FIXED_HEADER_BYTES + HASH_BYTES * blocks + LAYER_ENTRY_BYTES * layers + HASH_BYTES;
}

/** Bytes [0, 176 + 32·blocks): what every section's seal authenticates. */
export function sealedPrefixBytes(blocks: number): number {
  return FIXED_HEADER_BYTES + HASH_BYTES * blocks;
}

export function encodeHeader(header: ObjectHeader): Uint8Array<ArrayBuffer> {
  const blocks = header.blockHashes.length;
  const bytes = new Uint8Array(headerBytes(blocks, header.layers.length));
  const view = new DataView(bytes.buffer);
  const u32 = (offset: number, value: number) => view.setUint32(offset, value, true);
  u32(0, MAGIC);
  u32(4, OBJECT_FORMAT);
  u32(8, bytes.length);
  u32(12, (header.sealed ? FLAG_SEALED : 0) | (header.partial ? FLAG_PARTIAL : 0));
  bytes.set(header.namespace, 16);
  bytes.set(header.parentHash, 48);
  u32(80, header.firstToken);
  u32(84, header.tokenCount);
  u32(88, blocks);
  u32(92, BLOCK_TOKENS);
  u32(96, header.layers.length);
  u32(100, header.kvHeads);
  u32(104, header.headDim);
  u32(108, KV_DTYPE_ID[header.kvDtype]);
  u32(112, CODEC_ID[header.codec]);
  u32(116, header.codecParameter);
  bytes.set(header.keyId, 120);
  bytes.set(header.nonceBase, 136);
  header.blockHashes.forEach((hash, index) => {
    bytes.set(hash, FIXED_HEADER_BYTES + HASH_BYTES * index);
  });
  header.layers.forEach((layer, index) => {
    const at = sealedPrefixBytes(blocks) + LAYER_ENTRY_BYTES * index;
    view.setBigUint64(at, BigInt(layer.offset), true);
    view.setBigUint64(at + 8, BigInt(layer.length), true);
    u32(at + 16, layer.crc32);
  });
  bytes.set(sha256(bytes.subarray(0, bytes.length - HASH_BYTES)), bytes.length - HASH_BYTES);
  return bytes;
}

function refuse(why: string): never {
  throw new LongshoreError('store_unavailable', `Stored KV object refused: ${why}.`);
}

/** Bytes of the whole header, read from an object's first 16 bytes; refuses other magics, versions and absurd sizes. */
export function peekHeaderBytes(bytes: Uint8Array): number {
  if (bytes.length < 16) refuse('shorter than its fixed header');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0, true) !== MAGIC) refuse('wrong magic');
  const version = view.getUint32(4, true);
  if (version !== OBJECT_FORMAT) refuse(`format version ${version}, this build reads ${OBJECT_FORMAT}`);
  const length = view.getUint32(8, true);
  if (length < headerBytes(1, 1) || length > headerBytes(MAX_BLOCKS, MAX_DIMENSION)) refuse('absurd header length');
  return length;
}

function nameOf<T extends string>(table: Record<T, number>, id: number, what: string): T {
  for (const name of Object.keys(table) as T[]) if (table[name] === id) return name;
  return refuse(`unknown ${what} ${id}`);
}

/** Reads and verifies a header (magic, version, digest, ranges, layer table). Throws LongshoreError store_unavailable. */
export function decodeHeader(bytes: Uint8Array): ObjectHeader {
  const length = peekHeaderBytes(bytes);
  if (bytes.length < length) refuse('truncated header');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (offset: number) => view.getUint32(offset, true);
  const blocks = u32(88);
  const layerCount = u32(96);
  if (blocks < 1 || blocks > MAX_BLOCKS || layerCount < 1 || layerCount > MAX_DIMENSION)
    refuse('absurd block or layer count');
  if (length !== headerBytes(blocks, layerCount)) refuse('header length contradicts its counts');
  const digestAt = length - HASH_BYTES;
  if (!equalBytes(sha256(bytes.subarray(0, digestAt)), bytes.subarray(digestAt, length)))
    refuse('header digest differs');
  const flags = u32(12);
  if (flags > (FLAG_SEALED | FLAG_PARTIAL)) refuse(`unknown flags ${flags}`);
  const header: ObjectHeader = {
    sealed: (flags & FLAG_SEALED) !== 0,
    partial: (flags & FLAG_PARTIAL) !== 0,
    namespace: bytes.slice(16, 48),
    parentHash: bytes.slice(48, 80),
    firstToken: u32(80),
    tokenCount: u32(84),
    kvHeads: u32(100),
    headDim: u32(104),
    kvDtype: nameOf(KV_DTYPE_ID, u32(108), 'KV dtype'),
    codec: nameOf(CODEC_ID, u32(112), 'codec'),
    codecParameter: u32(116),
    keyId: bytes.slice(120, 136),
    nonceBase: bytes.slice(136, 148),
    blockHashes: Array.from({ length: blocks }, (_, index) => {
      const at = FIXED_HEADER_BYTES + HASH_BYTES * index;
      return bytes.slice(at, at + HASH_BYTES);
    }),
    layers: [],
  };
  if (u32(92) !== BLOCK_TOKENS || header.firstToken % BLOCK_TOKENS !== 0) refuse('other block size');
  if (Math.ceil(header.tokenCount / BLOCK_TOKENS) !== blocks) refuse('token count contradicts block count');
  if (header.partial !== (header.tokenCount % BLOCK_TOKENS !== 0)) refuse('partial flag contradicts token count');
  for (const value of [header.kvHeads, header.headDim]) if (value < 1 || value > MAX_DIMENSION) refuse('absurd shape');
  let end = 0;
  for (let index = 0; index < layerCount; index++) {
    const at = sealedPrefixBytes(blocks) + LAYER_ENTRY_BYTES * index;
    const offset = Number(view.getBigUint64(at, true));
    const size = Number(view.getBigUint64(at + 8, true));
    if (offset !== end || size > 2 ** 40) refuse('layer table has gaps or absurd lengths');
    header.layers.push({ offset, length: size, crc32: u32(at + 16) });
    end = offset + size;
  }
  return header;
}

/** Payload bytes that follow the header. */
export function payloadBytes(header: ObjectHeader): number {
  const last = header.layers[header.layers.length - 1];
  return last === undefined ? 0 : last.offset + last.length;
}

/** Nonce of layer `index`: the base with its last four bytes XORed with the index, little-endian. */
export function sectionNonce(nonceBase: Uint8Array, index: number): Uint8Array<ArrayBuffer> {
  const nonce = new Uint8Array(nonceBase);
  const view = new DataView(nonce.buffer);
  view.setUint32(8, view.getUint32(8, true) ^ index, true);
  return nonce;
}
