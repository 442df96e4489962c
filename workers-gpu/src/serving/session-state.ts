import { chatMessageSchema, LongshoreError } from '@longshore/core';
import type { SessionRow } from '@longshore/db';
import { z } from 'zod';
import { EMPTY_TRANSCRIPT, type Transcript } from '../domain/transcript.ts';
import type { TurnMark } from '../domain/turn-marks.ts';
import { openBytes, sealBytes, type TenantKeys } from '../kv/index.ts';

/** What a session row holds once opened. */
export interface SessionState {
  id: string;
  ttlSeconds: number;
  version: number;
  tokens: number[];
  transcript: Transcript;
  /** Where each turn ended; fewer than the turns there were when the session is older than marks are. */
  marks: TurnMark[];
  /** Tokens whose KV was published with the session: whole blocks and the tail. */
  keptTokens: number;
  tailObjectKey: string | null;
  /** Chain hash of the last whole kept block. */
  headHash: Uint8Array | null;
  /** The cache namespace that the blocks were published under, in hex. */
  namespace: string;
}

const characters = z.number().int().min(0).nullable();
export const markSchema = z.object({
  tokens: z.number().int().min(0).nullable(),
  messages: z.number().int().min(0),
  prefixCharacters: characters,
  textCharacters: characters,
});

const storedSchema = z.object({
  prefixText: z.string(),
  messages: z.array(chatMessageSchema),
  text: z.string(),
  keptTokens: z.number().int().min(0),
  namespace: z.string(),
  marks: z.array(markSchema).default([]),
});

export function openSession(row: SessionRow, tenant: TenantKeys): SessionState {
  const { id, ttlSeconds, version, tailObjectKey, headHash } = row;
  const base = { id, ttlSeconds, version, tailObjectKey, headHash };
  if (row.sealedTokens === null || row.sealedTranscript === null) {
    return { ...base, tokens: [], transcript: EMPTY_TRANSCRIPT, marks: [], keptTokens: 0, namespace: '' };
  }
  const sealedFor = row.sealedFor ?? row.id;
  const tokenBytes = openBytes(tenant, `session-tokens:${sealedFor}`, row.sealedTokens);
  const transcript = openBytes(tenant, `session-transcript:${sealedFor}`, row.sealedTranscript);
  if (tokenBytes === undefined || transcript === undefined) {
    throw new LongshoreError(
      'not_found',
      'The session can no longer be opened: its data key is gone. Create a new one.',
    );
  }
  const document = storedSchema.parse(JSON.parse(Buffer.from(transcript).toString('utf8')));
  const { keptTokens, namespace, marks, ...rest } = document;
  return { ...base, tokens: decodeTokens(tokenBytes), transcript: rest, marks, keptTokens, namespace };
}

export function sealSession(
  sessionId: string,
  tenant: TenantKeys,
  state: Pick<SessionState, 'tokens' | 'transcript' | 'marks' | 'keptTokens' | 'namespace'>,
): { sealedTokens: Uint8Array; sealedTranscript: Uint8Array } {
  const { tokens, transcript, marks, keptTokens, namespace } = state;
  const document: z.infer<typeof storedSchema> = { ...transcript, keptTokens, namespace, marks };
  return {
    sealedTokens: sealBytes(tenant, `session-tokens:${sessionId}`, encodeTokens(tokens)),
    sealedTranscript: sealBytes(tenant, `session-transcript:${sessionId}`, Buffer.from(JSON.stringify(document))),
  };
}

function encodeTokens(tokens: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(4 * tokens.length);
  tokens.forEach((token, index) => {
    bytes.writeUInt32LE(token, 4 * index);
  });
  return bytes;
}

function decodeTokens(bytes: Uint8Array): number[] {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: Math.floor(view.length / 4) }, (_, index) => view.readUInt32LE(4 * index));
}
