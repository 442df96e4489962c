import { LongshoreError } from '@longshore/core';
import { z } from 'zod';
import type { Bindings } from './bindings.ts';

const configSchema = z.object({
  LONGSHORE_POOL: z.string().min(1).max(64).default('default'),
  LONGSHORE_POOL_TOKEN: z.string().min(16, 'set it to the pool token that the workers have, at least 16 characters'),
  LONGSHORE_REQUEST_TIMEOUT_MS: z.coerce.number().int().min(1000).max(3_600_000).default(600_000),
});

export interface EdgeConfig {
  readonly pool: string;
  /** Shared secret between edge and workers, both ways. */
  readonly poolToken: string;
  /** Milliseconds from a request's arrival to the end of its answer at most. */
  readonly requestTimeoutMs: number;
}

const read = new WeakMap<Bindings, EdgeConfig>();

/** Validates the variables once per isolate. Throws `internal`, naming the variable, when one is missing or wrong. */
export function readConfig(bindings: Bindings): EdgeConfig {
  const known = read.get(bindings);
  if (known !== undefined) return known;
  const parsed = configSchema.safeParse(bindings);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new LongshoreError('internal', `The edge is not configured: ${issue!.path.join('.')}: ${issue!.message}.`);
  }
  const config = Object.freeze({
    pool: parsed.data.LONGSHORE_POOL,
    poolToken: parsed.data.LONGSHORE_POOL_TOKEN,
    requestTimeoutMs: parsed.data.LONGSHORE_REQUEST_TIMEOUT_MS,
  });
  read.set(bindings, config);
  return config;
}
