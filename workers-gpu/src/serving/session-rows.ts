import { LongshoreError } from '@longshore/core';
import {
  commitTurn,
  cutSession,
  type Database,
  failSession,
  loadSession,
  type SessionCut,
  type SessionRow,
  type TurnCommit,
} from '@longshore/db';

/** The session rows that a worker reads and writes. Rejects with LongshoreError database_unavailable. */
export interface SessionRows {
  load(organizationId: string, sessionId: string): Promise<SessionRow | undefined>;
  /** The new version; undefined when another turn won or the session is gone. */
  commit(commit: TurnCommit): Promise<number | undefined>;
  /** The new version; undefined when a turn was committed meanwhile or the session is gone. */
  cut(cut: SessionCut): Promise<number | undefined>;
  fail(organizationId: string, sessionId: string, reason: string): Promise<void>;
}

async function guarded<T>(query: Promise<T>): Promise<T> {
  try {
    return await query;
  } catch (cause) {
    throw new LongshoreError('database_unavailable', 'The database cannot be reached; retry in a moment.', {
      retryAfterSeconds: 2,
      cause,
    });
  }
}

export function postgresSessionRows(db: Database): SessionRows {
  return {
    load: (organizationId, sessionId) => guarded(loadSession(db, organizationId, sessionId)),
    commit: (commit) => guarded(commitTurn(db, commit)),
    cut: (cut) => guarded(cutSession(db, cut)),
    fail: async (organizationId, sessionId, reason) => {
      await guarded(failSession(db, organizationId, sessionId, reason));
    },
  };
}
