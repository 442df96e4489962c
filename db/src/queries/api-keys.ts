import { and, eq, isNull, lt, or, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { apiKeys } from '../schema.ts';

/** What the edge needs to know of a key to decide a request. */
export interface ApiKeyGrant {
  id: string;
  organizationId: string;
  projectId: string;
  scopes: string[];
  /** null: every model. */
  models: string[] | null;
  state: 'active' | 'disabled' | 'expired';
  lastUsedAt: Date | null;
}

/**
 * The key with this hex SHA-256, or undefined. Expiry is judged by the database's clock; the volatile now() also keeps a
 * connection pooler that caches reads (Hyperdrive) from answering with an old row.
 */
export async function findApiKey(db: Database, hash: string): Promise<ApiKeyGrant | undefined> {
  const [row] = await db
    .select({
      id: apiKeys.id,
      organizationId: apiKeys.organizationId,
      projectId: apiKeys.projectId,
      scopes: apiKeys.scopes,
      models: apiKeys.models,
      disabledAt: apiKeys.disabledAt,
      expired: sql<boolean>`coalesce(${apiKeys.expiresAt} <= now(), false)`,
      lastUsedAt: apiKeys.lastUsedAt,
    })
    .from(apiKeys)
    .where(eq(apiKeys.hash, hash));
  if (!row) return undefined;
  const { disabledAt, expired, ...grant } = row;
  return { ...grant, state: disabledAt !== null ? 'disabled' : expired ? 'expired' : 'active' };
}

/** At most one write per key and minute, however many edges report. */
export async function touchApiKey(db: Database, id: string): Promise<void> {
  await db
    .update(apiKeys)
    .set({ lastUsedAt: sql`now()` })
    .where(
      and(eq(apiKeys.id, id), or(isNull(apiKeys.lastUsedAt), lt(apiKeys.lastUsedAt, sql`now() - interval '1 minute'`))),
    );
}
