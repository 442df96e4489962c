import { z } from 'zod';
import { promptInputSchema } from './generate.ts';

const index = z.number().int().min(0).max(65535);

/** POST /attention -> AttentionReport: what the worker's policy does to the attention of this prompt, computed again beside dense attention. */
export const attentionRequestSchema = z.object({
  input: promptInputSchema,
  /** Every which block of 128 queries is measured. */
  every: z.number().int().min(1).max(1024).default(1),
  /** [layer, query head]: an image of where attention lies and what is read. */
  maps: z
    .array(z.tuple([index, index]))
    .max(16)
    .default([]),
});
export type AttentionRequest = z.infer<typeof attentionRequestSchema>;

export interface HeadAttention {
  /** "dense", "block_energy", ... */
  type: string;
  /** Mean share of the attention mass that is read; means of pruned blocks do not count. */
  recall: number;
  /** Share of queries that keep less than 0.9 of their mass. */
  low: number;
  /** |output - dense output| / |dense output|. */
  error: number;
  /** Score entries computed, and scored without their values, as shares of dense attention's. */
  density: number;
  scanned: number;
}

export interface AttentionReport {
  promptTokens: number;
  measuredQueries: number;
  /** Canonical JSON of the policy. */
  policy: string;
  /** [layer][query head]; null in layers that slide over a window, which no policy touches. */
  heads: (HeadAttention | null)[][];
  /** SVG, in the request's order; heads without measured queries are left out. */
  maps: Array<{ layer: number; head: number; svg: string }>;
}
