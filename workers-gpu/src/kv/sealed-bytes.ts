import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { toHex, utf8 } from '@longshore/core';
import type { TenantKeys } from './tenant-keys.ts';

/**
 * Small secrets of a tenant (a session's tokens and transcript) sealed with its data key. Layout: 16 bytes key id, 12 bytes nonce,
 * AES-256-GCM ciphertext, 16 bytes tag. `context` names what is sealed, e.g. "session-tokens:ses_…": it is authenticated, so
 * that a sealed value cannot be moved to another row.
 */

const KEY_ID_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export function sealBytes(tenant: TenantKeys, context: string, plain: Uint8Array): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', tenant.current.key, nonce);
  cipher.setAAD(utf8(context));
  return Buffer.concat([tenant.current.id, nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

/** undefined when the key is gone, the context is another, or a byte was changed. */
export function openBytes(tenant: TenantKeys, context: string, sealed: Uint8Array): Uint8Array | undefined {
  if (sealed.length < KEY_ID_BYTES + NONCE_BYTES + TAG_BYTES) return undefined;
  const key = tenant.byId.get(toHex(sealed.subarray(0, KEY_ID_BYTES)));
  if (!key) return undefined;
  const body = KEY_ID_BYTES + NONCE_BYTES;
  const decipher = createDecipheriv('aes-256-gcm', key.key, sealed.subarray(KEY_ID_BYTES, body), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(utf8(context));
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  try {
    const plain = decipher.update(sealed.subarray(body, sealed.length - TAG_BYTES));
    return Buffer.concat([plain, decipher.final()]);
  } catch {
    return undefined;
  }
}
