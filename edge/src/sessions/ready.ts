import { LongshoreError } from '@longshore/core';
import type { SessionSummary } from '@longshore/db';

/** Throws `conflict` that says why the session cannot be used. */
export function requireReady({ status, error }: SessionSummary): void {
  if (status === 'ready') return;
  throw new LongshoreError(
    'conflict',
    status === 'creating'
      ? 'The session is still being prefilled. Wait until its status is "ready".'
      : `The session cannot be used: its prefill failed (${error ?? 'no reason recorded'}). Create another.`,
  );
}
