import { createHash, createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { LongshoreError } from '@longshore/core';

/**
 * The frames behind a session file's head. Each is {u8 type, u32 length, payload, 32 bytes digest, 32 bytes seal}. The digest chains
 * everything before it, head included, so a flipped bit, a lost frame or a changed order is found by anyone. The seal is the digest's
 * HMAC under a key that only this platform has: it tells whether a worker wrote the frame, and so whether its KV can be trusted.
 */
export const FRAME = { session: 1, blocks: 2, tail: 3, end: 4 } as const;
export type FrameType = (typeof FRAME)[keyof typeof FRAME];

const PREFIX_BYTES = 5;
const DIGEST_BYTES = 32;
/** Larger than any object of KV (16 MB and its unencoded twin) and any session's transcript. */
const MAX_PAYLOAD_BYTES = 64 * 1024 * 1024;

export interface Frame {
  type: FrameType;
  payload: Buffer;
  /** A worker that has this platform's master key wrote it. */
  isOurs: boolean;
}

export function fileKeyOf(masterKey: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', Buffer.from(masterKey, 'hex'), '', 'longshore session file 1', 32));
}

/** The digest over all that came before, advanced frame by frame. */
class DigestChain {
  private digest: Buffer;

  constructor(head: Uint8Array) {
    this.digest = createHash('sha256').update(head).digest();
  }

  advance(prefix: Uint8Array, payload: Uint8Array): Buffer {
    this.digest = createHash('sha256').update(this.digest).update(prefix).update(payload).digest();
    return this.digest;
  }
}

const sealOf = (key: Uint8Array, digest: Uint8Array) => createHmac('sha256', key).update(digest).digest();

/** Makes frames in order; the payload's parts are not copied. */
export class FrameWriter {
  private readonly chain: DigestChain;
  private readonly key: Uint8Array;

  constructor(head: Uint8Array, key: Uint8Array) {
    this.chain = new DigestChain(head);
    this.key = key;
  }

  frame(type: FrameType, payload: Buffer): Buffer[] {
    const prefix = Buffer.alloc(PREFIX_BYTES);
    prefix.writeUInt8(type, 0);
    prefix.writeUInt32LE(payload.length, 1);
    const digest = this.chain.advance(prefix, payload);
    return [prefix, payload, Buffer.concat([digest, sealOf(this.key, digest)])];
  }
}

/** Exactly the next `count` bytes of a stream; throws LongshoreError when it ends before. */
export type ReadExactly = (count: number) => Promise<Buffer>;

/** Reads frames in order. Throws LongshoreError invalid_request that names the frame for whatever is damaged. */
export class FrameReader {
  private readonly read: ReadExactly;
  private readonly chain: DigestChain;
  private readonly key: Uint8Array;
  private index = 0;

  constructor(head: Uint8Array, read: ReadExactly, key: Uint8Array) {
    this.read = read;
    this.chain = new DigestChain(head);
    this.key = key;
  }

  async next(): Promise<Frame> {
    const prefix = await this.read(PREFIX_BYTES);
    const type = prefix.readUInt8(0);
    const length = prefix.readUInt32LE(1);
    const isKnown = Object.values<number>(FRAME).includes(type);
    if (!isKnown || length > MAX_PAYLOAD_BYTES) throw this.damaged();
    const payload = await this.read(length);
    const digest = this.chain.advance(prefix, payload);
    const stored = await this.read(2 * DIGEST_BYTES);
    if (!timingSafeEqual(digest, stored.subarray(0, DIGEST_BYTES))) throw this.damaged();
    const isOurs = timingSafeEqual(sealOf(this.key, digest), stored.subarray(DIGEST_BYTES));
    this.index++;
    return { type: type as FrameType, payload, isOurs };
  }

  private damaged(): LongshoreError {
    return new LongshoreError(
      'invalid_request',
      `The session file is damaged in frame ${this.index}: its checksum differs. Export the session again.`,
    );
  }
}
