import { fromHex, LongshoreError, utf8 } from '@longshore/core';

/**
 * Secrets at rest: AES-256-GCM under the platform's master key. Layout: 12 bytes nonce, ciphertext, 16 bytes tag. `context` names
 * what is wrapped and for whom; it is authenticated, so a wrapped secret cannot be moved to another row. WebCrypto, because
 * the edge and Node both have it.
 */

const NONCE_BYTES = 12;

/** LONGSHORE_MASTER_KEY as bytes. Throws LongshoreError invalid_request unless it is 64 hexadecimal digits. */
export function parseMasterKey(text: string): Uint8Array<ArrayBuffer> {
  if (!/^[0-9a-fA-F]{64}$/.test(text))
    throw new LongshoreError(
      'invalid_request',
      'LONGSHORE_MASTER_KEY must be 64 hexadecimal digits (32 bytes): make one with "openssl rand -hex 32" and keep it safe.',
    );
  return fromHex(text);
}

function importKey(masterKey: Uint8Array<ArrayBuffer>) {
  return crypto.subtle.importKey('raw', masterKey, 'AES-GCM', false, ['encrypt', 'decrypt']);
}

export async function wrapSecret(
  masterKey: Uint8Array<ArrayBuffer>,
  secret: Uint8Array<ArrayBuffer>,
  context: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const parameters = { name: 'AES-GCM', iv: nonce, additionalData: utf8(context) };
  const sealed = new Uint8Array(await crypto.subtle.encrypt(parameters, await importKey(masterKey), secret));
  const wrapped = new Uint8Array(NONCE_BYTES + sealed.length);
  wrapped.set(nonce);
  wrapped.set(sealed, NONCE_BYTES);
  return wrapped;
}

/** Throws LongshoreError internal when the master key or the context is not the one it was wrapped with. */
export async function unwrapSecret(
  masterKey: Uint8Array<ArrayBuffer>,
  wrapped: Uint8Array,
  context: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(wrapped);
  const parameters = { name: 'AES-GCM', iv: bytes.subarray(0, NONCE_BYTES), additionalData: utf8(context) };
  try {
    return new Uint8Array(
      await crypto.subtle.decrypt(parameters, await importKey(masterKey), bytes.subarray(NONCE_BYTES)),
    );
  } catch (cause) {
    throw new LongshoreError(
      'internal',
      `A stored key (${context}) does not open: LONGSHORE_MASTER_KEY is not the one it was created with.`,
      { cause },
    );
  }
}
