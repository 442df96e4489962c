import { chatMessageSchema, LongshoreError } from '@longshore/core';
import { z } from 'zod';
import type { SessionText } from '../domain/turn-marks.ts';
import { markSchema } from '../serving/session-state.ts';

/** What a session is besides its KV, as the first frame holds it in JSON. */
const payloadSchema = z.object({
  tokens: z.array(z.number().int().min(0).max(0xffffffff)).min(1),
  transcript: z.object({ prefixText: z.string(), messages: z.array(chatMessageSchema), text: z.string() }),
  marks: z.array(markSchema).max(1_000_000),
});

export function encodeSessionPayload({ tokens, transcript, marks }: SessionText): Buffer {
  return Buffer.from(JSON.stringify({ tokens, transcript, marks }));
}

/** Throws LongshoreError invalid_request. */
export function decodeSessionPayload(payload: Buffer): z.infer<typeof payloadSchema> {
  let json: unknown;
  try {
    json = JSON.parse(payload.toString('utf8'));
  } catch {
    json = undefined;
  }
  const parsed = payloadSchema.safeParse(json);
  if (!parsed.success)
    throw new LongshoreError('invalid_request', 'The session file holds no transcript that can be read here.');
  return parsed.data;
}
