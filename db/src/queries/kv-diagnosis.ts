import { and, desc, eq, inArray, lt, ne, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { kvBlocks, kvDepartures, kvNamespaces, kvObjects } from '../schema.ts';
import { byteaArray, textArray } from './arrays.ts';

/** What tells a miss its reason. Every read is one organization's, or about namespaces, which are nobody's. */

type Executor = Pick<Database, 'select' | 'insert' | 'update' | 'delete' | 'execute'>;

/** Why a block is stored no longer. */
export type DepartureReason = 'expired' | 'evicted' | 'removed' | 'quarantined';

/** Remembers, before these retired objects' rows go, why their blocks went. Those that never counted are not remembered. */
export async function recordDepartures(db: Executor, keys: readonly string[]): Promise<void> {
  if (keys.length === 0) return;
  await db.execute(sql`
    insert into ${kvDepartures} (hash, organization_id, reason)
    select b.hash, b.organization_id, case when o.state = 'quarantined' then 'quarantined' else o.retired_reason end
    from ${kvBlocks} b join ${kvObjects} o on o.key = b.object_key
    where o.key = any(${textArray(keys)})
      and (o.state = 'quarantined' or (o.state = 'tombstone' and o.retired_reason in ('expired', 'evicted', 'removed')))
    order by b.hash
    on conflict (hash) do update set reason = excluded.reason, departed_at = excluded.departed_at`);
}

export async function findDeparture(
  db: Executor,
  organizationId: string,
  hash: Uint8Array,
): Promise<DepartureReason | undefined> {
  const [row] = await db
    .select({ reason: kvDepartures.reason })
    .from(kvDepartures)
    .where(and(eq(kvDepartures.hash, hash), eq(kvDepartures.organizationId, organizationId)));
  return row?.reason as DepartureReason | undefined;
}

/** Forgets departures older than `seconds`, at most `limit` of them. Returns how many. */
export async function forgetDepartures(db: Executor, seconds: number, limit: number): Promise<number> {
  const old = db
    .select({ hash: kvDepartures.hash })
    .from(kvDepartures)
    .where(lt(kvDepartures.departedAt, sql`now() - ${seconds} * interval '1 second'`))
    .limit(limit);
  const rows = await db
    .delete(kvDepartures)
    .where(inArray(kvDepartures.hash, old))
    .returning({ hash: kvDepartures.hash });
  return rows.length;
}

export interface SiblingBlock {
  hash: Uint8Array;
  sealedTokens: Uint8Array | null;
}

/** Blocks that an organization stored after the same parent, the most recently used first. */
export async function findSiblings(
  db: Executor,
  organizationId: string,
  parentHash: Uint8Array,
  limit: number,
): Promise<SiblingBlock[]> {
  return db
    .select({ hash: kvBlocks.hash, sealedTokens: kvBlocks.sealedTokens })
    .from(kvBlocks)
    .innerJoin(kvObjects, eq(kvObjects.key, kvBlocks.objectKey))
    .where(
      and(
        eq(kvBlocks.parentHash, parentHash),
        eq(kvBlocks.organizationId, organizationId),
        eq(kvObjects.state, 'ready'),
      ),
    )
    .orderBy(desc(kvObjects.lastUsedAt), kvBlocks.hash)
    .limit(limit);
}

export interface NamespaceRecord {
  namespace: Uint8Array;
  identity: Record<string, unknown>;
}

/** Says what a namespace stands for, and that it is in use. */
export async function noteNamespace(db: Executor, record: NamespaceRecord): Promise<void> {
  await db
    .insert(kvNamespaces)
    .values(record)
    .onConflictDoUpdate({ target: kvNamespaces.namespace, set: { lastSeenAt: sql`now()` } });
}

/** The namespaces in use most recently, `own` left out. */
export async function recentNamespaces(db: Executor, own: Uint8Array, limit: number): Promise<NamespaceRecord[]> {
  return db
    .select({ namespace: kvNamespaces.namespace, identity: kvNamespaces.identity })
    .from(kvNamespaces)
    .where(ne(kvNamespaces.namespace, own))
    .orderBy(desc(kvNamespaces.lastSeenAt))
    .limit(limit);
}

export async function findNamespace(db: Executor, namespace: Uint8Array): Promise<NamespaceRecord | undefined> {
  const [row] = await db
    .select({ namespace: kvNamespaces.namespace, identity: kvNamespaces.identity })
    .from(kvNamespaces)
    .where(eq(kvNamespaces.namespace, namespace));
  return row;
}

/** Of these block hashes, those that the organization has, readable or not. */
export async function knownHashes(
  db: Executor,
  organizationId: string,
  hashes: readonly Uint8Array[],
): Promise<Uint8Array[]> {
  if (hashes.length === 0) return [];
  const rows = await db
    .select({ hash: kvBlocks.hash })
    .from(kvBlocks)
    .where(and(sql`${kvBlocks.hash} = any(${byteaArray(hashes)})`, eq(kvBlocks.organizationId, organizationId)));
  return rows.map((row) => row.hash);
}
