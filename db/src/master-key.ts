import { LongshoreError } from '@longshore/core';
import { parseMasterKey, unwrapSecret, wrapSecret } from './key-wrap.ts';

/**
 * What wraps the organizations' keys: the face of a key management service. `context` says what is wrapped and for whom; unwrapping with
 * another context fails, so that a wrapped key cannot be moved to another row. Rejects with LongshoreError.
 */
export interface MasterKey {
  wrap(secret: Uint8Array<ArrayBuffer>, context: string): Promise<Uint8Array<ArrayBuffer>>;
  unwrap(wrapped: Uint8Array, context: string): Promise<Uint8Array<ArrayBuffer>>;
}

/** Keys that this process holds itself, 32 bytes each. New secrets are wrapped by the first; the others still unwrap older ones. */
export function localMasterKey(current: Uint8Array<ArrayBuffer>, ...previous: Uint8Array<ArrayBuffer>[]): MasterKey {
  return {
    wrap: (secret, context) => wrapSecret(current, secret, context),
    async unwrap(wrapped, context) {
      for (const key of previous) {
        const opened = await unwrapSecret(key, wrapped, context).catch(() => undefined);
        if (opened) return opened;
      }
      return unwrapSecret(current, wrapped, context);
    },
  };
}

/** 64 hexadecimal digits each: LONGSHORE_MASTER_KEY and, while the platform moves from one to the next, LONGSHORE_MASTER_KEY_PREVIOUS. */
export function masterKeyFrom(current: string, previous: string | undefined): MasterKey {
  if (current === previous)
    throw new LongshoreError(
      'invalid_request',
      'LONGSHORE_MASTER_KEY_PREVIOUS is the present key: set it to the old one, or leave it out.',
    );
  return localMasterKey(parseMasterKey(current), ...(previous === undefined ? [] : [parseMasterKey(previous)]));
}

/** The key itself, or a service that holds it. */
export type MasterKeyOrBytes = MasterKey | Uint8Array<ArrayBuffer>;

export const asMasterKey = (key: MasterKeyOrBytes): MasterKey =>
  key instanceof Uint8Array ? localMasterKey(key) : key;
