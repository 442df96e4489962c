import { LongshoreError } from '@longshore/core';

/** Consecutive blocks, or a session's tail, as a frame holds them: the encoded section of each layer. */
export interface KvPayload {
  firstBlock: number;
  /** Tokens that the blocks hold; a multiple of 128 unless it is a tail. */
  tokenCount: number;
  sections: Uint8Array[];
}

const FIXED_BYTES = 12;
const MAX_LAYERS = 1024;

/** {u32 firstBlock, u32 tokenCount, u32 layers, u32 length of each section, sections}. */
export function encodeKvPayload({ firstBlock, tokenCount, sections }: KvPayload): Buffer {
  const head = Buffer.alloc(FIXED_BYTES + 4 * sections.length);
  head.writeUInt32LE(firstBlock, 0);
  head.writeUInt32LE(tokenCount, 4);
  head.writeUInt32LE(sections.length, 8);
  sections.forEach((section, index) => {
    head.writeUInt32LE(section.length, FIXED_BYTES + 4 * index);
  });
  return Buffer.concat([head, ...sections]);
}

/** The sections are views. Throws LongshoreError invalid_request. */
export function decodeKvPayload(payload: Buffer): KvPayload {
  const refuse = (): never => {
    throw new LongshoreError('invalid_request', 'The session file holds KV in a form that no worker wrote.');
  };
  if (payload.length < FIXED_BYTES) refuse();
  const layers = payload.readUInt32LE(8);
  let at = FIXED_BYTES + 4 * layers;
  if (layers > MAX_LAYERS || at > payload.length) refuse();
  const sections = Array.from({ length: layers }, (_, index) => {
    const end = at + payload.readUInt32LE(FIXED_BYTES + 4 * index);
    if (end > payload.length) refuse();
    const section = payload.subarray(at, end);
    at = end;
    return section;
  });
  if (at !== payload.length) refuse();
  return { firstBlock: payload.readUInt32LE(0), tokenCount: payload.readUInt32LE(4), sections };
}
