import { LongshoreError } from '@longshore/core';
import { modelNotFound } from '../auth/domain/access.ts';
import type { RequestScope } from '../request-scope.ts';

/** Throws before a row is written for a session that no worker could prefill. */
export async function requireServed(scope: RequestScope, model: string): Promise<void> {
  const served = await scope.router.models();
  if (served.some(({ id }) => id === model)) return;
  if (served.length > 0) throw modelNotFound(model);
  throw new LongshoreError('no_worker_available', 'No worker is up. Try again in a few seconds.', {
    retryAfterSeconds: 5,
  });
}
