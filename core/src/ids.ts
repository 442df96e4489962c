/**
 * Prefixed ids: what a person sees in a log says what it names. The 16 random bytes come from the caller (core has no
 * randomness); they are written in Crockford base32, lower case, 26 characters.
 */
export const ID_PREFIX = {
  request: 'req',
  session: 'ses',
  turn: 'trn',
  organization: 'org',
  project: 'prj',
  user: 'usr',
  apiKey: 'key',
  dataKey: 'dk',
  worker: 'wrk',
  object: 'obj',
  completion: 'chatcmpl',
  textCompletion: 'cmpl',
} as const;

export type IdKind = keyof typeof ID_PREFIX;

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

export function formatId(kind: IdKind, random: Uint8Array): string {
  if (random.length !== 16) throw new RangeError('an id needs 16 random bytes');
  let value = 0n;
  for (const byte of random) value = (value << 8n) | BigInt(byte);
  let text = '';
  for (let index = 0; index < 26; index++) {
    text = ALPHABET[Number(value & 31n)]! + text;
    value >>= 5n;
  }
  return `${ID_PREFIX[kind]}_${text}`;
}

export function isId(kind: IdKind, text: string): boolean {
  const prefix = `${ID_PREFIX[kind]}_`;
  return text.startsWith(prefix) && /^[0-9a-hjkmnp-tv-z]{26}$/.test(text.slice(prefix.length));
}
