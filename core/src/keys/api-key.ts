import { sha256 } from '@noble/hashes/sha2.js';
import { toHex, utf8 } from '../bytes.ts';

/**
 * A hosted API key: `lsk_live_` + 43 base62 characters (256 random bits) + 6 base62 characters of checksum
 * (SHA-256 of everything before it). The checksum lets the edge and secret scanners refuse a mistyped key without a
 * database read; only the SHA-256 of the whole key is stored.
 */
export const API_KEY_PREFIX = 'lsk_live_';
const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const SECRET_LENGTH = 43;
const CHECKSUM_LENGTH = 6;
const SHAPE = new RegExp(`^${API_KEY_PREFIX}[0-9A-Za-z]{${SECRET_LENGTH + CHECKSUM_LENGTH}}$`);

function base62(bytes: Uint8Array, length: number): string {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  let text = '';
  for (let index = 0; index < length; index++) {
    text = BASE62[Number(value % 62n)]! + text;
    value /= 62n;
  }
  return text;
}

const checksum = (body: string): string => base62(sha256(utf8(body)).subarray(0, 8), CHECKSUM_LENGTH);

/** `random` is 32 bytes from a cryptographic source. */
export function formatApiKey(random: Uint8Array): string {
  if (random.length !== 32) throw new RangeError('an API key needs 32 random bytes');
  const body = API_KEY_PREFIX + base62(random, SECRET_LENGTH);
  return body + checksum(body);
}

/** True when prefix, alphabet, length and checksum are right; says nothing about whether the key exists. */
export function isWellFormedApiKey(key: string): boolean {
  return SHAPE.test(key) && checksum(key.slice(0, -CHECKSUM_LENGTH)) === key.slice(-CHECKSUM_LENGTH);
}

/** What is stored: hex SHA-256 of the whole key. A 256-bit random secret needs no slow hash. */
export function hashApiKey(key: string): string {
  return toHex(sha256(utf8(key)));
}

/** What lists show: enough to recognise a key, not enough to use it. */
export function displayApiKey(key: string): string {
  return `${key.slice(0, API_KEY_PREFIX.length + 4)}…${key.slice(-4)}`;
}
