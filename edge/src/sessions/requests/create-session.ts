import { LongshoreError, type PromptInput } from '@longshore/core';
import { z } from 'zod';
import { validate } from '../../http/validate.ts';
import { cache, model } from '../../openai/requests/fields.ts';
import { messagesSchema } from '../../openai/requests/messages.ts';
import { withoutUnsupported } from '../../openai/requests/unsupported.ts';

const DAY_SECONDS = 86_400;
export const DEFAULT_TTL_SECONDS = 7 * DAY_SECONDS;
const MIN_TTL_SECONDS = 60;
const MAX_TTL_SECONDS = 30 * DAY_SECONDS;

const token = z.number().int().min(0).max(0xffffffff);

/** What a session or a turn adds: either messages, or text or token ids as they are. */
export const inputFields = {
  messages: messagesSchema.nullish(),
  input: z.union([z.string().min(1), z.array(token).min(1)], { error: 'must be a text or token ids' }).nullish(),
};

export function inputOf(body: z.infer<z.ZodObject<typeof inputFields>>): PromptInput {
  const { messages, input } = body;
  if ((messages == null) === (input == null))
    throw new LongshoreError('invalid_request', 'Give either messages or input, and not both.', { param: 'messages' });
  if (messages != null) return { kind: 'messages', messages };
  return typeof input === 'string' ? { kind: 'text', text: input } : { kind: 'tokens', tokens: input! };
}

export const labelField = z.string().min(1).max(200);
export const metadataField = z
  .record(z.string().min(1).max(64), z.string().max(512))
  .refine((entries) => Object.keys(entries).length <= 16, 'must have at most 16 entries');
export const ttlField = z.number().int().min(MIN_TTL_SECONDS).max(MAX_TTL_SECONDS);

const createSchema = z.strictObject({
  ...inputFields,
  model,
  cache,
  stream: z.boolean().nullish(),
  label: labelField.nullish(),
  metadata: metadataField.nullish(),
  ttl_seconds: ttlField.nullish(),
});

export interface CreateSession {
  model: string;
  input: PromptInput;
  stream: boolean;
  cache: { read: boolean; write: boolean };
  label: string | undefined;
  metadata: Record<string, string>;
  ttlSeconds: number;
}

/** Throws `invalid_request` that names the field. */
export function parseCreateSession(json: unknown): CreateSession {
  const body = validate(createSchema, withoutUnsupported(json));
  return {
    model: body.model,
    input: inputOf(body),
    stream: body.stream ?? false,
    cache: body.cache ?? { read: true, write: true },
    label: body.label ?? undefined,
    metadata: body.metadata ?? {},
    ttlSeconds: body.ttl_seconds ?? DEFAULT_TTL_SECONDS,
  };
}
