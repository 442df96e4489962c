import { z } from 'zod';

/** The edge-to-worker protocol: one dialect-free request, one stream of events. */

const id = z.string().min(1).max(128);
const tokenId = z.number().int().min(0).max(0xffffffff);

export const toolCallSchema = z.object({
  id: z.string(),
  type: z.literal('function'),
  function: z.object({ name: z.string(), arguments: z.string() }),
});

export const chatMessageSchema = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
  content: z.string(),
  name: z.string().optional(),
  toolCalls: z.array(toolCallSchema).optional(),
  toolCallId: z.string().optional(),
});
export type ChatMessage = z.infer<typeof chatMessageSchema>;

export const promptInputSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('messages'), messages: z.array(chatMessageSchema).min(1).max(4096) }),
  z.object({ kind: z.literal('text'), text: z.string() }),
  z.object({ kind: z.literal('tokens'), tokens: z.array(tokenId).min(1) }),
]);
export type PromptInput = z.infer<typeof promptInputSchema>;

/** Same fields and meaning as SamplingParams of the engine; bounds are checked here, once. */
export const samplingSchema = z.object({
  temperature: z.number().min(0).max(10).default(1),
  topK: z.number().int().min(0).default(0),
  topP: z.number().gt(0).max(1).default(1),
  minP: z.number().min(0).max(1).default(0),
  repetitionPenalty: z.number().gt(0).max(10).default(1),
  presencePenalty: z.number().min(-2).max(2).default(0),
  frequencyPenalty: z.number().min(-2).max(2).default(0),
  /** Absent: the worker draws one and reports it in `accepted`, so that a continuation elsewhere can use it. */
  seed: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
  logprobs: z.boolean().default(false),
  topLogprobs: z.number().int().min(0).max(20).default(0),
  logitBias: z
    .array(z.tuple([tokenId, z.number().min(-100).max(100)]))
    .max(1024)
    .default([]),
});
export type Sampling = z.infer<typeof samplingSchema>;

export const cacheOptionsSchema = z.object({
  /** Use blocks already computed (device, S3). */
  read: z.boolean().default(true),
  /** Publish complete blocks. */
  write: z.boolean().default(true),
});

const requestBase = {
  requestId: id,
  organizationId: id,
  model: z.string().min(1).max(256),
  input: promptInputSchema,
  cache: cacheOptionsSchema.default({ read: true, write: true }),
  /** Epoch milliseconds after which the worker gives up; the edge sets it. */
  deadline: z.number().int().positive().optional(),
};

/** POST /generate -> text/event-stream of GenerateEvent. */
export const generateRequestSchema = z.object({
  ...requestBase,
  /** Resume this session: `input` holds only what is new and is appended; the turn is recorded when it completes. */
  session: id.optional(),
  /**
   * The session's version that the caller saw: another one is a `conflict`. It keeps a turn that is continued elsewhere from being
   * appended twice when its first worker committed it and then was lost.
   */
  sessionVersion: z.number().int().min(0).optional(),
  sampling: samplingSchema.prefault({}),
  /** Absent: until the context is full. */
  maxTokens: z.number().int().min(1).optional(),
  stop: z.array(z.string().min(1).max(256)).max(16).default([]),
  ignoreEos: z.boolean().default(false),
  /** Tokens of this very answer already delivered by another worker: continue after them, do not send them again. */
  continuation: z.object({ tokens: z.array(tokenId) }).optional(),
});
export type GenerateRequest = z.infer<typeof generateRequestSchema>;

/** POST /prefill -> text/event-stream of GenerateEvent without tokens: prefill once, keep everything under the session. */
export const prefillRequestSchema = z.object({ ...requestBase, session: id });
export type PrefillRequest = z.infer<typeof prefillRequestSchema>;

/** POST /cancel. Unknown ids are no error: the request may just have ended. */
export const cancelRequestSchema = z.object({ requestId: id });

export type Tier = 'device' | 'host' | 'disk' | 's3' | 'none';

/** Why blocks were computed that a cache could have given. */
export type MissReason =
  | 'below_one_block'
  /** This organization never stored these tokens; what others stored is never looked at. */
  | 'never_seen'
  | 'reading_disabled'
  | 'expired'
  | 'evicted'
  | 'deleted'
  | 'quarantined'
  | 'load_slower_than_recompute'
  | 'store_unavailable'
  /** The same tokens are stored, but for other weights, configuration or tokenizer. */
  | 'model_changed'
  | 'policy_changed'
  | 'codec_changed'
  | 'numerics_changed'
  /** Stored under another identity that no one recorded. */
  | 'identity_changed'
  /** The organization's cache cannot be found any more: its chain secret was rotated, or it has no key. */
  | 'tenant_scope';

/** Where the prompt's KV came from. Sizes in bytes, times in milliseconds, counts in blocks of 128 tokens. */
export interface CacheReport {
  /** The farthest tier that was read; `none` when all was computed. */
  tier: Tier;
  blocksHit: number;
  blocksTotal: number;
  bytes: number;
  loadMs: number;
  recomputeMsEstimate: number;
  savedMs: number;
  decision: 'compute' | 'reuse' | 'restore' | 'restore_and_compute';
  /** When blocks were stored: loading all of them, and computing them instead, as expected before either began. */
  loadMsEstimate?: number;
  computeMsEstimate?: number;
  /** Time until they were on the device, loaded or computed / the lesser of the two estimates. */
  regretEstimate?: number;
  missReason?: MissReason;
  /**
   * When the hit was not complete. For `never_seen` the index of the first token at which the prompt leaves every chain that this
   * organization has stored; for every other reason the first token that no cache gave.
   */
  firstDivergentToken?: number;
  /** Absent: the index is exact. False: the prompt may also diverge up to 127 tokens later. */
  divergenceIsExact?: false;
}

export interface Usage {
  promptTokens: number;
  completionTokens: number;
  /** Prompt tokens whose KV was reused instead of computed. */
  cachedTokens: number;
}

export interface Timings {
  queueMs: number;
  restoreMs: number;
  prefillMs: number;
  decodeMs: number;
  /** Request received to first token ready, on the worker. */
  ttftMs: number;
  totalMs: number;
}

export type FinishReason = 'stop' | 'length';

export interface TokenLogprob {
  id: number;
  text: string;
  logprob: number;
  /** UTF-8 bytes of the token, for dialects that report them. */
  bytes: number[];
}

export type GenerateEvent =
  | { type: 'accepted'; requestId: string; workerId: string; promptTokens: number; seed: number }
  | { type: 'progress'; phase: 'restore' | 'prefill'; done: number; total: number }
  | { type: 'token'; index: number; id: number; text: string; logprob?: TokenLogprob; top?: TokenLogprob[] }
  | {
      type: 'done';
      finishReason: FinishReason;
      usage: Usage;
      timings: Timings;
      cache: CacheReport;
      workerId: string;
      /** The stop string that ended the text, when one did. */
      stopSequence?: string;
    }
  | { type: 'error'; error: import('../errors.ts').WireError };
