/** A session's row, as far as people see it. */
export interface SessionRecord {
  id: string;
  model: string;
  status: string;
  label: string | null;
  metadata: Record<string, string>;
  tokenCount: number;
  turnCount: number;
  workerId: string | null;
  forkedFrom: string | null;
  error: string | null;
  ttlSeconds: number;
  pinned: boolean;
  createdAt: Date;
  lastUsedAt: Date;
  expiresAt: Date;
}

const seconds = (date: Date): number => Math.floor(date.getTime() / 1000);

/** The API's session. Times in Unix seconds; `turn_count` counts the prefill that made it. */
export function sessionObject(session: SessionRecord) {
  return {
    id: session.id,
    object: 'session',
    model: session.model,
    status: session.status,
    label: session.label,
    metadata: session.metadata,
    token_count: session.tokenCount,
    turn_count: session.turnCount,
    worker_id: session.workerId,
    forked_from: session.forkedFrom,
    error: session.error,
    ttl_seconds: session.ttlSeconds,
    pinned: session.pinned,
    created_at: seconds(session.createdAt),
    last_used_at: seconds(session.lastUsedAt),
    expires_at: seconds(session.expiresAt),
  };
}
