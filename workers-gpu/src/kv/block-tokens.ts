import { BLOCK_TOKENS, toHex } from '@longshore/core';
import { openBytes, sealBytes } from './sealed-bytes.ts';
import type { TenantKeys } from './tenant-keys.ts';

/**
 * A stored block's token ids, sealed beside its hash: 556 bytes a block, against a megabyte or more of KV. They tell a prompt that
 * left a stored chain inside a block at which token it did.
 */
const contextOf = (hash: Uint8Array) => `block-tokens:${toHex(hash)}`;

export function sealBlockTokens(tenant: TenantKeys, hash: Uint8Array, tokens: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(4 * tokens.length);
  tokens.forEach((token, index) => {
    bytes.writeUInt32LE(token, 4 * index);
  });
  return sealBytes(tenant, contextOf(hash), bytes);
}

/** undefined when there are none, or they do not open. */
export function openBlockTokens(tenant: TenantKeys, hash: Uint8Array, sealed: Uint8Array | null): number[] | undefined {
  const bytes = sealed === null ? undefined : openBytes(tenant, contextOf(hash), sealed);
  if (bytes?.length !== 4 * BLOCK_TOKENS) return undefined;
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: BLOCK_TOKENS }, (_, index) => view.readUInt32LE(4 * index));
}
