import { isId, LongshoreError } from '@longshore/core';
import { type ApiKeyGrant, findSession, type SessionSummary } from '@longshore/db';
import type { RequestScope } from '../request-scope.ts';

export function sessionNotFound(id: string): LongshoreError {
  return new LongshoreError(
    'not_found',
    `No session "${id.slice(0, 64)}": it was never made, has expired, or was deleted.`,
  );
}

/** Throws `not_found` for other projects' sessions too. */
export async function requireSession(scope: RequestScope, apiKey: ApiKeyGrant, id: string): Promise<SessionSummary> {
  if (!isId('session', id)) throw sessionNotFound(id);
  const session = await scope.query((db) => findSession(db, apiKey, id));
  if (session === undefined) throw sessionNotFound(id);
  return session;
}
