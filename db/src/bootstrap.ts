import { displayApiKey, formatApiKey, formatId, hashApiKey, type IdKind } from '@longshore/core';
import { eq, sql } from 'drizzle-orm';
import type { Database } from './client.ts';
import type { MasterKeyOrBytes } from './master-key.ts';
import { insertDataKey } from './queries/data-keys.ts';
import { apiKeys, organizations, projects, users } from './schema.ts';

/** Every scope a key can have. */
export const ALL_SCOPES = ['inference', 'sessions', 'caches', 'admin:read', 'admin:write'] as const;

export interface BootstrapOptions {
  organization: string;
  /** Unique over the platform: an organization with this owner is found, not made again. */
  ownerEmail: string;
  masterKey: MasterKeyOrBytes;
  project?: string;
  apiKeyName?: string;
  scopes?: readonly string[];
}

export interface Bootstrapped {
  /** False when the owner existed: nothing was written then, and there is no apiKey to show. */
  created: boolean;
  organizationId: string;
  projectId: string;
  userId: string;
  /** The first key in clear. It exists nowhere else. */
  apiKey?: string;
  apiKeyId?: string;
}

export const newId = (kind: IdKind): string => formatId(kind, crypto.getRandomValues(new Uint8Array(16)));

async function findExisting(db: Pick<Database, 'select'>, ownerEmail: string): Promise<Bootstrapped | undefined> {
  const [row] = await db
    .select({ organizationId: users.organizationId, userId: users.id, projectId: projects.id })
    .from(users)
    .innerJoin(projects, eq(projects.organizationId, users.organizationId))
    .where(eq(users.email, ownerEmail))
    .orderBy(projects.createdAt)
    .limit(1);
  return row && { created: false, ...row };
}

/** Organization, project, owner, sealing key with chain secret, and first API key, in one transaction. Idempotent per owner. */
export async function bootstrapOrganization(db: Database, options: BootstrapOptions): Promise<Bootstrapped> {
  return db.transaction(async (tx) => {
    await tx.execute(sql`select pg_advisory_xact_lock(hashtext(${options.ownerEmail}))`);
    const existing = await findExisting(tx, options.ownerEmail);
    if (existing) return existing;

    const organizationId = newId('organization');
    const projectId = newId('project');
    const userId = newId('user');
    await tx.insert(organizations).values({ id: organizationId, name: options.organization });
    await tx.insert(projects).values({ id: projectId, organizationId, name: options.project ?? 'Default' });
    await tx.insert(users).values({ id: userId, organizationId, email: options.ownerEmail, role: 'owner' });
    await insertDataKey(tx, options.masterKey, organizationId);

    const apiKey = formatApiKey(crypto.getRandomValues(new Uint8Array(32)));
    const apiKeyId = newId('apiKey');
    await tx.insert(apiKeys).values({
      id: apiKeyId,
      organizationId,
      projectId,
      createdBy: userId,
      hash: hashApiKey(apiKey),
      display: displayApiKey(apiKey),
      name: options.apiKeyName ?? 'First key',
      scopes: [...(options.scopes ?? ALL_SCOPES)],
    });
    return { created: true, organizationId, projectId, userId, apiKey, apiKeyId };
  });
}
