import { and, eq, isNull, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { apiKeys, dataKeys, kvAccounts, kvObjects, kvPins, leases, organizations, sessions } from '../schema.ts';
import { type Executor, lockObjects, retireLeafward, rowsOf } from './kv-chain.ts';

export interface OrganizationRow {
  id: string;
  name: string;
  createdAt: Date;
  deletedAt: Date | null;
  quotaBytes: number | null;
  heldBytes: number;
}

/** For operators: all of them, oldest first, at most 1,000. */
export async function listOrganizations(db: Database): Promise<OrganizationRow[]> {
  return db
    .select({
      id: organizations.id,
      name: organizations.name,
      createdAt: organizations.createdAt,
      deletedAt: organizations.deletedAt,
      quotaBytes: kvAccounts.quotaBytes,
      heldBytes: sql<number>`coalesce(${kvAccounts.heldBytes}, 0)::float8`,
    })
    .from(organizations)
    .leftJoin(kvAccounts, eq(kvAccounts.organizationId, organizations.id))
    .orderBy(organizations.createdAt, organizations.id)
    .limit(1000);
}

/**
 * Retires everything that the organization has stored, whatever is pinned, and unties its sessions from it. Inside of a transaction.
 * Twice, because a reservation that was made while the first statement waited for locks is in the second one's sight only.
 */
export async function retireEverything(db: Executor, organizationId: string): Promise<number> {
  let retired = 0;
  for (let pass = 0; pass < 2; pass++) {
    const found = await rowsOf<{ key: string }>(
      db,
      sql`select key from ${kvObjects} where organization_id = ${organizationId} and state <> 'tombstone'`,
    );
    const keys = await lockObjects(
      db,
      found.map((row) => row.key),
    );
    await db.execute(sql`update ${kvObjects} set expires_at = greatest(expires_at, now())
      where key in (select object_key from ${kvPins}) and organization_id = ${organizationId}`);
    await db.execute(sql`delete from ${kvPins} using ${kvObjects} o
      where o.key = object_key and o.organization_id = ${organizationId}`);
    await db
      .update(sessions)
      .set({ tailObjectKey: null, headHash: null })
      .where(eq(sessions.organizationId, organizationId));
    retired += (await retireLeafward(db, keys, 'removed')).length;
  }
  return retired;
}

export interface DeletedOrganization {
  objects: number;
  sessions: number;
  dataKeys: number;
}

/**
 * Ends an organization: its data keys are destroyed, so that no stored byte of it can be opened by anyone; its API keys are disabled, its
 * sessions forgotten, its objects retired and billed no more. All at once, or not at all. The sweeper deletes the bytes and rows; the
 * organization's own row and its usage stay for the last bill. Undefined when there is no such living organization.
 */
export async function deleteOrganization(
  db: Database,
  organizationId: string,
): Promise<DeletedOrganization | undefined> {
  return db.transaction(async (tx) => {
    // Objects before the account, the account before the organization: the order in which reservations and sweeps lock them.
    const objects = await retireEverything(tx, organizationId);
    await tx.execute(sql`select 1 from ${kvAccounts} where organization_id = ${organizationId} for update`);
    const [organization] = await tx
      .update(organizations)
      .set({ deletedAt: sql`now()` })
      .where(and(eq(organizations.id, organizationId), isNull(organizations.deletedAt)))
      .returning({ id: organizations.id });
    if (!organization) return undefined;
    const late = await retireEverything(tx, organizationId);
    const keys = await tx
      .delete(dataKeys)
      .where(eq(dataKeys.organizationId, organizationId))
      .returning({ id: dataKeys.id });
    await tx
      .update(apiKeys)
      .set({ disabledAt: sql`coalesce(${apiKeys.disabledAt}, now())` })
      .where(eq(apiKeys.organizationId, organizationId));
    await tx.delete(leases).where(eq(leases.organizationId, organizationId));
    const ended = await tx
      .update(sessions)
      .set({
        status: 'deleted',
        deletedAt: sql`now()`,
        sealedTokens: null,
        sealedTranscript: null,
        version: sql`${sessions.version} + 1`,
      })
      .where(and(eq(sessions.organizationId, organizationId), isNull(sessions.deletedAt)))
      .returning({ id: sessions.id });
    return { objects: objects + late, sessions: ended.length, dataKeys: keys.length };
  });
}
