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

/** POST /sessions/export -> the session file, as a stream of bytes. */
export const exportRequestSchema = z.object(sessionRequest);
export type ExportRequest = z.infer<typeof exportRequestSchema>;

/** POST /sessions/import?requestId=…&organizationId=…&model=…&session=… with the session file as body -> ImportAnswer. */
export const importRequestSchema = z.object(sessionRequest);
export type ImportRequest = z.infer<typeof importRequestSchema>;

/** Why the file's KV was not taken over, or not all of it. */
export type ImportReason =
  /** It was made for another model, policy, codec or numerics. */
  | 'model_changed'
  | 'policy_changed'
  | 'codec_changed'
  | 'numerics_changed'
  | 'identity_changed'
  /** It was not written by this platform, or under another master key: its KV cannot be trusted. */
  | 'unknown_origin'
  /** The file holds KV of fewer tokens than the session has. */
  | 'not_in_file'
  /** The store did not take it: it is down, or the quota is full. */
  | 'store_unavailable';

export interface ImportAnswer {
  tokenCount: number;
  /** Blocks whose stored KV came from the file, of all whole blocks of the session. */
  blocksImported: number;
  blocksTotal: number;
  /** Tokens whose KV was computed anew. */
  recomputedTokens: number;
  /** KV bytes that the file held and that were used. */
  bytes: number;
  reason: ImportReason | null;
}
