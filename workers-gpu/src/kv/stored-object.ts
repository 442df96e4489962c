import { createCipheriv, createDecipheriv } from 'node:crypto';
import { crc32 } from 'node:zlib';
import {
  type Codec,
  decodeHeader,
  encodeHeader,
  headerBytes,
  type ObjectHeader,
  payloadBytes,
  peekHeaderBytes,
  sealedPrefixBytes,
  sectionNonce,
  toHex,
} from '@longshore/core';
import type { SealedLayers } from '@longshore/native';
import type { ByteBounds } from './domain/section-layout.ts';
import { Mismatch, UnknownKey } from './fault.ts';
import type { KvShape } from './kv-store.ts';
import type { DataKey } from './tenant-keys.ts';

/** Writes and reads whole sealed objects (docs/design/0001-stored-block-format.md). */

const TAG_BYTES = 16;
const NONCE_BYTES = 12;
/** The bytes that say how long the header is. */
const PEEK_BYTES = 16;

export interface ObjectContent {
  namespace: Uint8Array;
  shape: KvShape;
  codec: Codec;
  partial: boolean;
  parentHash: Uint8Array;
  firstToken: number;
  tokenCount: number;
  blockHashes: Uint8Array[];
  /** One encoded, unsealed section per layer. */
  sections: readonly Uint8Array[];
}

export interface SealedObject {
  bytes: Buffer;
  /** zlib's CRC-32 of all bytes. */
  crc32: number;
  headerBytes: number;
}

/** `nonceBase`: 12 random bytes, never used before with this key. `allocate` gives the buffer for the object. */
export function sealObject(
  content: ObjectContent,
  key: DataKey,
  nonceBase: Uint8Array,
  allocate: (size: number) => Buffer = Buffer.allocUnsafeSlow,
): SealedObject {
  if (nonceBase.length !== NONCE_BYTES) throw new RangeError('a nonce base has 12 bytes');
  let end = 0;
  const layers = content.sections.map((section) => {
    const entry = { offset: end, length: section.length + TAG_BYTES, crc32: 0 };
    end += entry.length;
    return entry;
  });
  const header: ObjectHeader = {
    sealed: true,
    partial: content.partial,
    namespace: content.namespace,
    parentHash: content.parentHash,
    firstToken: content.firstToken,
    tokenCount: content.tokenCount,
    kvHeads: content.shape.kvHeads,
    headDim: content.shape.headDim,
    kvDtype: content.shape.kvDtype,
    codec: content.codec,
    codecParameter: 0,
    keyId: key.id,
    nonceBase,
    blockHashes: content.blockHashes,
    layers,
  };
  const unfinished = encodeHeader(header);
  const additional = unfinished.subarray(0, sealedPrefixBytes(content.blockHashes.length));
  const bytes = allocate(unfinished.length + end);
  content.sections.forEach((section, index) => {
    const cipher = createCipheriv('aes-256-gcm', key.key, sectionNonce(nonceBase, index));
    cipher.setAAD(additional);
    const at = unfinished.length + layers[index]!.offset;
    bytes.set(cipher.update(section), at);
    cipher.final();
    bytes.set(cipher.getAuthTag(), at + section.length);
    layers[index]!.crc32 = crc32(bytes.subarray(at, at + section.length + TAG_BYTES));
  });
  bytes.set(encodeHeader(header));
  return { bytes, crc32: crc32(bytes), headerBytes: unfinished.length };
}

/** Stored size of an object whose sections have `sectionBytes` before sealing. */
export function sealedObjectBytes(blocks: number, layers: number, sectionBytes: number): number {
  return headerBytes(blocks, layers) + layers * (sectionBytes + TAG_BYTES);
}

export interface Expectation {
  namespace: Uint8Array;
  shape: KvShape;
  codec: Codec;
  /** Stored bytes of the whole object, as the directory knows them. */
  storedBytes: number;
  /** Plain bytes of each section. */
  sectionBytes: ByteBounds;
  keys: ReadonlyMap<string, DataKey>;
  /** What else the header contradicts: chain, position, size of blocks. */
  contradiction: (header: ObjectHeader) => string | undefined;
}

/**
 * Verifies one object while its bytes arrive: the header as soon as it is complete, so that a wrong object is not read to its end.
 * The sections are opened by the engine (`sealed`) or here (`openSections`), its portable twin. Both methods throw Mismatch.
 */
export class SealedObjectReader {
  private readonly bytes: Uint8Array;
  private readonly expected: Expectation;
  private header: ObjectHeader | undefined;
  private key: DataKey | undefined;
  private payloadAt = 0;

  /** `bytes` is filled from its start by the caller and has the object's stored size. */
  constructor(bytes: Uint8Array, expected: Expectation) {
    this.bytes = bytes;
    this.expected = expected;
  }

  advance(filled: number): void {
    if (!this.header && filled >= PEEK_BYTES) this.readHeader(filled);
  }

  /** For the engine, which verifies every section before it writes a block. */
  sealed(): SealedLayers {
    const { header, key } = this.opened();
    return {
      bytes: this.bytes,
      additionalBytes: sealedPrefixBytes(header.blockHashes.length),
      key: key.key,
      nonceBase: header.nonceBase,
      sections: Uint32Array.from(
        header.layers.flatMap(({ offset, length, crc32: crc }) => [this.payloadAt + offset, length, crc]),
      ),
    };
  }

  /** The plain bytes of each layer's section, every seal verified. */
  openSections(): Uint8Array[] {
    return this.opened().header.layers.map((_, index) => this.openSection(index));
  }

  private opened(): { header: ObjectHeader; key: DataKey } {
    const { header, key } = this;
    if (!header || !key) throw new Mismatch('Stored KV object refused: it is incomplete.');
    return { header, key };
  }

  private readHeader(filled: number): void {
    let header: ObjectHeader;
    try {
      this.payloadAt = peekHeaderBytes(this.bytes);
      if (this.payloadAt > this.bytes.length) throw new Mismatch('truncated header');
      if (filled < this.payloadAt) return;
      header = decodeHeader(this.bytes.subarray(0, this.payloadAt));
    } catch (cause) {
      throw new Mismatch(cause instanceof Error ? cause.message : String(cause), { cause });
    }
    const reason = this.contradictionOf(header);
    if (reason !== undefined) throw new Mismatch(`Stored KV object refused: ${reason}.`);
    this.key = this.expected.keys.get(toHex(header.keyId));
    if (!this.key) throw new UnknownKey(`Stored KV object refused: sealed with unknown key ${toHex(header.keyId)}.`);
    this.header = header;
  }

  private contradictionOf(header: ObjectHeader): string | undefined {
    const { expected } = this;
    const { shape } = expected;
    if (!header.sealed) return 'it is not sealed';
    if (toHex(header.namespace) !== toHex(expected.namespace)) return 'namespace differs';
    if (header.layers.length !== shape.layers || header.kvHeads !== shape.kvHeads || header.headDim !== shape.headDim)
      return 'shape differs';
    if (header.kvDtype !== shape.kvDtype) return 'KV dtype differs';
    if (header.codec !== expected.codec || header.codecParameter !== 0) return 'codec differs';
    if (this.payloadAt + payloadBytes(header) !== expected.storedBytes) return 'size differs from the directory';
    const { least, most } = expected.sectionBytes;
    if (header.layers.some(({ length }) => length < least + TAG_BYTES || length > most + TAG_BYTES))
      return 'section size differs';
    return expected.contradiction(header);
  }

  private openSection(index: number): Uint8Array {
    const { offset, length, crc32: crc } = this.header!.layers[index]!;
    const at = this.payloadAt + offset;
    const stored = this.bytes.subarray(at, at + length);
    if (crc32(stored) !== crc) throw new Mismatch(`Stored KV object refused: checksum of layer ${index} differs.`);
    const nonce = sectionNonce(this.header!.nonceBase, index);
    const decipher = createDecipheriv('aes-256-gcm', this.key!.key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(this.bytes.subarray(0, sealedPrefixBytes(this.header!.blockHashes.length)));
    decipher.setAuthTag(stored.subarray(length - TAG_BYTES));
    const plain = decipher.update(stored.subarray(0, length - TAG_BYTES));
    try {
      decipher.final();
    } catch (cause) {
      throw new Mismatch(`Stored KV object refused: seal of layer ${index} is broken.`, { cause });
    }
    return plain;
  }
}
