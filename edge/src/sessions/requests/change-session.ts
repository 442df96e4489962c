import type { SessionChange } from '@longshore/db';
import { z } from 'zod';
import { validate } from '../../http/validate.ts';
import { labelField, metadataField, ttlField } from './create-session.ts';

const changeSchema = z
  .strictObject({
    /** null takes it away. */
    label: labelField.nullable().optional(),
    metadata: metadataField.optional(),
    ttl_seconds: ttlField.optional(),
    pinned: z.boolean().optional(),
  })
  .refine((body) => Object.keys(body).length > 0, 'must change something: label, metadata, ttl_seconds or pinned');

/** PATCH: absent fields stay, metadata is replaced as a whole. Throws `invalid_request` that names the field. */
export function parseChange(json: unknown): SessionChange {
  const { label, metadata, ttl_seconds, pinned } = validate(changeSchema, json);
  return { label, metadata, ttlSeconds: ttl_seconds, pinned };
}

/** Where a session is cut: at most one of the two. */
const cutFields = {
  turn: z.number().int().min(0).optional(),
  tokens: z.number().int().min(1).optional(),
};

export interface CutPoint {
  turn?: number;
  tokens?: number;
}

const truncateSchema = z
  .strictObject(cutFields)
  .refine(({ turn, tokens }) => (turn === undefined) !== (tokens === undefined), 'must have turn or tokens, not both');

/** Exactly one of `turn` (the last turn that stays, 0 is the prefill) and `tokens` (how many leading tokens stay). */
export const parseTruncate = (json: unknown): CutPoint => validate(truncateSchema, json);

const forkSchema = z
  .strictObject({
    ...cutFields,
    label: labelField.nullable().optional(),
    metadata: metadataField.optional(),
    ttl_seconds: ttlField.optional(),
  })
  .refine(({ turn, tokens }) => turn === undefined || tokens === undefined, 'must have turn or tokens, not both');

export interface ForkRequest {
  label?: string | null;
  metadata?: Record<string, string>;
  ttlSeconds?: number;
  /** The fork ends here instead of where its origin ends. */
  cut: CutPoint | undefined;
}

export function parseFork(json: unknown): ForkRequest {
  const { turn, tokens, label, metadata, ttl_seconds } = validate(forkSchema, json);
  const cut = turn === undefined && tokens === undefined ? undefined : { turn, tokens };
  return { label, metadata, ttlSeconds: ttl_seconds, cut };
}
