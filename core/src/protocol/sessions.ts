import { z } from 'zod';

/** The edge-to-worker protocol for what a session is besides turns. All bodies JSON unless stated otherwise. */

const id = z.string().min(1).max(128);

const sessionRequest = {
  requestId: id,
  organizationId: id,
  model: z.string().min(1).max(256),
  session: id,
};

/** POST /sessions/truncate -> TruncateAnswer. Exactly one of `turn` and `tokens`. */
export const truncateRequestSchema = z
  .object({
    ...sessionRequest,
    /** The last turn that stays; 0 is the prefill. */
    turn: z.number().int().min(0).optional(),
    /** Leading tokens that stay. */
    tokens: z.number().int().min(1).optional(),
  })
  .refine(({ turn, tokens }) => (turn === undefined) !== (tokens === undefined), 'give either turn or tokens');
export type TruncateRequest = z.infer<typeof truncateRequestSchema>;

export interface TruncateAnswer {
  tokenCount: number;
  turnCount: number;
  /** Tokens whose stored KV the session still has. */
  keptTokens: number;
}
