import { LongshoreError, type PromptInput } from '@longshore/core';
import { z } from 'zod';
import { validate } from '../../http/validate.ts';
import type { AnswerOptions, Delivery } from './chat.ts';
import { deliveryOf } from './chat.ts';
import { choices, deliveryFields, ignoredFields, maxTokens, model, samplingFields } from './fields.ts';
import { samplingOf, stopsOf } from './sampling.ts';
import { withoutUnsupported } from './unsupported.ts';

const MAX_PROMPTS = 32;
const MAX_SEQUENCES = 64;
/** OpenAI's default. */
const DEFAULT_MAX_TOKENS = 16;

const token = z.number().int().min(0).max(0xffffffff);
const prompt = z.union(
  [
    z.string(),
    z.array(token).min(1),
    z.array(z.string()).min(1).max(MAX_PROMPTS),
    z.array(z.array(token).min(1)).min(1).max(MAX_PROMPTS),
  ],
  { error: `must be a string, token ids, or up to ${MAX_PROMPTS} of either` },
);

const completionSchema = z.strictObject({
  ...samplingFields,
  ...deliveryFields,
  ...ignoredFields,
  model,
  prompt,
  n: choices,
  max_tokens: maxTokens,
  logprobs: z.number().int().min(0).max(20).nullish(),
  echo: z.boolean().nullish(),
});

export interface CompletionRequest extends AnswerOptions {
  model: string;
  prompts: PromptInput[];
  n: number;
  /** Begin each answer with its prompt. */
  echo: boolean;
  delivery: Delivery;
}

function promptsOf(value: z.infer<typeof prompt>): PromptInput[] {
  if (typeof value === 'string') return [{ kind: 'text', text: value }];
  if (typeof value[0] === 'number') return [{ kind: 'tokens', tokens: value as number[] }];
  return (value as (string | number[])[]).map((one) =>
    typeof one === 'string' ? { kind: 'text', text: one } : { kind: 'tokens', tokens: one },
  );
}

function checkEcho(prompts: PromptInput[], wantsLogprobs: boolean): void {
  if (prompts.some(({ kind }) => kind === 'tokens'))
    throw new LongshoreError('invalid_request', 'echo is not supported yet for prompts given as token ids.', {
      param: 'echo',
    });
  if (wantsLogprobs)
    throw new LongshoreError('invalid_request', 'echo with logprobs (of the prompt) is not supported yet.', {
      param: 'echo',
    });
}

/** Throws `invalid_request` that names the field. */
export function parseCompletion(json: unknown): CompletionRequest {
  const body = validate(completionSchema, withoutUnsupported(json));
  const prompts = promptsOf(body.prompt);
  const n = body.n ?? 1;
  if (prompts.length * n > MAX_SEQUENCES)
    throw new LongshoreError('invalid_request', `n times the number of prompts may be at most ${MAX_SEQUENCES}.`, {
      param: 'n',
    });
  if (body.echo) checkEcho(prompts, body.logprobs != null);
  return {
    sampling: samplingOf(body, body.logprobs ?? undefined),
    stop: stopsOf(body.stop),
    ignoreEos: body.ignore_eos ?? false,
    maxTokens: body.max_tokens ?? DEFAULT_MAX_TOKENS,
    cache: body.cache ?? { read: true, write: true },
    model: body.model,
    prompts,
    n,
    echo: body.echo ?? false,
    delivery: deliveryOf(body),
  };
}
