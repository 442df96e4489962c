import { and, eq, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { kvObjects } from '../schema.ts';

export interface KvTotals {
  objects: number;
  /** Tokens whose KV is stored: blocks and sessions' tails. */
  tokens: number;
  /** In the object store, headers included. */
  storedBytes: number;
  /** The same KV in the engine's dtype. */
  rawBytes: number;
}

/** What an organization's ready objects hold. */
export async function kvTotals(db: Database, organizationId: string): Promise<KvTotals> {
  const [row] = await db
    .select({
      objects: sql<number>`count(*)::int`,
      tokens: sql<number>`coalesce(sum(${kvObjects.tokenCount}), 0)::float8`,
      storedBytes: sql<number>`coalesce(sum(${kvObjects.storedBytes}), 0)::float8`,
      rawBytes: sql<number>`coalesce(sum(${kvObjects.rawBytes}), 0)::float8`,
    })
    .from(kvObjects)
    .where(and(eq(kvObjects.organizationId, organizationId), eq(kvObjects.state, 'ready')));
  return row!;
}
