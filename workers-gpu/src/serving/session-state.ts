import { chatMessageSchema, LongshoreError } from '@longshore/core';
import type { SessionRow } from '@longshore/db';
import { z } from 'zod';
import { EMPTY_TRANSCRIPT, type Transcript } from '../domain/transcript.ts';
import { openBytes, sealBytes, type TenantKeys } from '../kv/index.ts';

/** What a session row holds once opened. */
export interface SessionState {
  id: string;
  version: number;
  tokens: number[];
  transcript: Transcript;
  /** Tokens whose KV was published with the session: whole blocks and the tail. */
  keptTokens: number;
  tailObjectKey: string | null;
  /** The cache namespace that the blocks were published under, in hex. */
  namespace: string;
}

const storedSchema = z.object({
  prefixText: z.string(),
  messages: z.array(chatMessageSchema),
  text: z.string(),
  keptTokens: z.number().int().min(0),
  namespace: z.string(),
});

export function openSession(row: SessionRow, tenant: TenantKeys): SessionState {
  const base = { id: row.id, version: row.version, tailObjectKey: row.tailObjectKey };
  if (row.sealedTokens === null || row.sealedTranscript === null) {
    return { ...base, tokens: [], transcript: EMPTY_TRANSCRIPT, keptTokens: 0, namespace: '' };
  }
  const tokenBytes = openBytes(tenant, `session-tokens:${row.id}`, row.sealedTokens);
  const transcript = openBytes(tenant, `session-transcript:${row.id}`, row.sealedTranscript);
  if (tokenBytes === undefined || transcript === undefined) {
    throw new LongshoreError(
      'not_found',
      'The session can no longer be opened: its data key is gone. Create a new one.',
    );
  }
  const { keptTokens, namespace, ...rest } = storedSchema.parse(JSON.parse(Buffer.from(transcript).toString('utf8')));
  return { ...base, tokens: decodeTokens(tokenBytes), transcript: rest, keptTokens, namespace };
}

export function sealSession(
  sessionId: string,
  tenant: TenantKeys,
  state: Pick<SessionState, 'tokens' | 'transcript' | 'keptTokens' | 'namespace'>,
): { sealedTokens: Uint8Array; sealedTranscript: Uint8Array } {
  const { tokens, transcript, keptTokens, namespace } = state;
  const document: z.infer<typeof storedSchema> = { ...transcript, keptTokens, namespace };
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
