import { z } from 'zod';

/** Request fields that both OpenAI dialects and session turns share, in OpenAI's spelling. null means absent, as it does there. */

const flag = z.boolean().nullish();

const MAX_STOPS = 4;
const MAX_CHOICES = 8;

const stop = z
  .union([z.string().min(1).max(256), z.array(z.string().min(1).max(256)).max(MAX_STOPS)], {
    error: `must be a string or up to ${MAX_STOPS} strings of 1 to 256 characters`,
  })
  .nullish();

const logitBias = z
  .record(z.string().regex(/^\d{1,10}$/, 'keys must be token ids'), z.number().min(-100).max(100))
  .refine((bias) => Object.keys(bias).length <= 1024, 'must have at most 1024 entries')
  .nullish();

export const maxTokens = z.number().int().min(1).nullish();

/** What our cache may do for this request; Longshore's own. */
export const cache = z.strictObject({ read: z.boolean().default(true), write: z.boolean().default(true) }).nullish();

export const samplingFields = {
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.number().int().min(0).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  repetition_penalty: z.number().gt(0).max(10).nullish(),
  logit_bias: logitBias,
  seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).nullish(),
  stop,
  ignore_eos: flag,
};

export const deliveryFields = {
  stream: flag,
  stream_options: z.strictObject({ include_usage: flag, include_obfuscation: flag }).nullish(),
  /** Token ids beside the text; Longshore's own. */
  return_token_ids: flag,
  cache,
};

/** Fields that change nothing here: who asks, how it is billed elsewhere, hints for other caches. */
export const ignoredFields = {
  user: z.string().max(512).nullish(),
  metadata: z.record(z.string().max(64), z.string().max(512)).nullish(),
  safety_identifier: z.string().nullish(),
  prompt_cache_key: z.string().nullish(),
  prompt_cache_retention: z.string().nullish(),
  service_tier: z.string().nullish(),
};

export const model = z.string().min(1).max(256);
export const choices = z.number().int().min(1).max(MAX_CHOICES).nullish();
