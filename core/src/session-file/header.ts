import { z } from 'zod';
import { LongshoreError } from '../errors.ts';

/** The head of an exported session, docs/design/0016-sessions-and-misses.md: magic, version, length, JSON. Frames follow it. */
const MAGIC = 'LSSX';
export const SESSION_FILE_VERSION = 1;
const PREFIX_BYTES = 12;
const MAX_HEADER_BYTES = 64 * 1024;

const count = z.number().int().min(0).max(0xffffffff);
const digest = z.string().min(1).max(256);

export const sessionFileHeaderSchema = z.object({
  model: z.string().min(1).max(256),
  /** The cache namespace of the blocks, in hex, and what it is made of. */
  namespace: z.string().regex(/^[0-9a-f]{64}$/),
  identity: z.object({
    weights: digest,
    config: z.json(),
    tokenizer: digest,
    kvDtype: digest,
    codec: digest,
    codecParameter: count,
    policy: z.json(),
    numerics: digest,
  }),
  tokenCount: count,
  turnCount: count,
  /** Leading blocks that follow, and tokens of the partial last one that follows them; fewer where the end frame says so. */
  blockCount: count,
  tailTokens: count,
});
export type SessionFileHeader = z.infer<typeof sessionFileHeaderSchema>;

function refuse(why: string): never {
  throw new LongshoreError('invalid_request', `This is no session file that can be read here: ${why}.`);
}

export function encodeSessionFileHeader(header: SessionFileHeader): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(JSON.stringify(header));
  if (json.length > MAX_HEADER_BYTES) throw new RangeError('the session file header is too long');
  const bytes = new Uint8Array(PREFIX_BYTES + json.length);
  bytes.set(new TextEncoder().encode(MAGIC));
  const view = new DataView(bytes.buffer);
  view.setUint32(4, SESSION_FILE_VERSION, true);
  view.setUint32(8, json.length, true);
  bytes.set(json, PREFIX_BYTES);
  return bytes;
}

/** Bytes of the whole head, or undefined while `bytes` holds too few to tell. Throws LongshoreError invalid_request. */
export function sessionFileHeadBytes(bytes: Uint8Array): number | undefined {
  if (bytes.length < PREFIX_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (new TextDecoder().decode(bytes.subarray(0, 4)) !== MAGIC) refuse('it begins otherwise');
  const version = view.getUint32(4, true);
  if (version !== SESSION_FILE_VERSION) refuse(`its version is ${version}, this build reads ${SESSION_FILE_VERSION}`);
  const length = view.getUint32(8, true);
  if (length > MAX_HEADER_BYTES) refuse('its header is absurdly long');
  return PREFIX_BYTES + length;
}

/** `bytes` begin with the whole head. Throws LongshoreError invalid_request. */
export function decodeSessionFileHeader(bytes: Uint8Array): SessionFileHeader {
  const length = sessionFileHeadBytes(bytes);
  if (length === undefined || bytes.length < length) refuse('it ends inside its header');
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(PREFIX_BYTES, length)));
  } catch {
    refuse('its header is no JSON');
  }
  const parsed = sessionFileHeaderSchema.safeParse(json);
  if (!parsed.success) refuse(`its header is wrong at ${parsed.error.issues[0]?.path.join('.') || 'its start'}`);
  return parsed.data;
}
