import { type ChatMessage, LongshoreError, type Sampling } from '@longshore/core';
import { z } from 'zod';
import { validate } from '../../http/validate.ts';
import { choices, deliveryFields, ignoredFields, maxTokens, model, samplingFields } from './fields.ts';
import { messagesSchema } from './messages.ts';
import { samplingOf, stopsOf } from './sampling.ts';
import { withoutUnsupported } from './unsupported.ts';

export const chatFields = {
  ...samplingFields,
  ...deliveryFields,
  ...ignoredFields,
  logprobs: z.boolean().nullish(),
  top_logprobs: z.number().int().min(0).max(20).nullish(),
  max_tokens: maxTokens,
  max_completion_tokens: maxTokens,
};

const chatSchema = z.strictObject({ ...chatFields, model, messages: messagesSchema, n: choices });

export interface Delivery {
  stream: boolean;
  includeUsage: boolean;
  tokenIds: boolean;
}

/** What every dialect says about one answer, in the protocol's words. */
export interface AnswerOptions {
  sampling: Sampling;
  stop: string[];
  ignoreEos: boolean;
  maxTokens: number | undefined;
  cache: { read: boolean; write: boolean };
}

export interface ChatRequest extends AnswerOptions {
  model: string;
  messages: ChatMessage[];
  n: number;
  delivery: Delivery;
}

export function deliveryOf(body: z.infer<z.ZodObject<typeof deliveryFields>>): Delivery {
  if (body.stream_options != null && !body.stream)
    throw new LongshoreError('invalid_request', 'stream_options is only allowed when stream is true.', {
      param: 'stream_options',
    });
  return {
    stream: body.stream ?? false,
    includeUsage: body.stream_options?.include_usage ?? false,
    tokenIds: body.return_token_ids ?? false,
  };
}

export function chatAnswerOptions(body: z.infer<z.ZodObject<typeof chatFields>>): AnswerOptions {
  if ((body.top_logprobs ?? 0) > 0 && !body.logprobs)
    throw new LongshoreError('invalid_request', 'top_logprobs needs logprobs to be true.', { param: 'top_logprobs' });
  return {
    sampling: samplingOf(body, body.logprobs ? (body.top_logprobs ?? 0) : undefined),
    stop: stopsOf(body.stop),
    ignoreEos: body.ignore_eos ?? false,
    maxTokens: body.max_completion_tokens ?? body.max_tokens ?? undefined,
    cache: body.cache ?? { read: true, write: true },
  };
}

/** Throws `invalid_request` that names the field. */
export function parseChat(json: unknown): ChatRequest {
  const body = validate(chatSchema, withoutUnsupported(json));
  return {
    ...chatAnswerOptions(body),
    model: body.model,
    messages: body.messages,
    n: body.n ?? 1,
    delivery: deliveryOf(body),
  };
}
