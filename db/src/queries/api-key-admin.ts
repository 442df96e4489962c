import { displayApiKey, formatApiKey, hashApiKey } from '@longshore/core';
import { and, eq, isNull, sql } from 'drizzle-orm';
import { newId } from '../bootstrap.ts';
import type { Database } from '../client.ts';
import { apiKeys } from '../schema.ts';

export interface NewApiKey {
  organizationId: string;
  projectId: string;
  createdBy?: string;
  name: string;
  scopes: readonly string[];
  /** Absent: every model. */
  models?: readonly string[];
  expiresAt?: Date;
}

/** The key in clear is returned here and exists nowhere else. */
export async function createApiKey(db: Database, key: NewApiKey): Promise<{ id: string; apiKey: string }> {
  const apiKey = formatApiKey(crypto.getRandomValues(new Uint8Array(32)));
  const id = newId('apiKey');
  await db.insert(apiKeys).values({
    id,
    organizationId: key.organizationId,
    projectId: key.projectId,
    createdBy: key.createdBy ?? null,
    hash: hashApiKey(apiKey),
    display: displayApiKey(apiKey),
    name: key.name,
    scopes: [...key.scopes],
    models: key.models ? [...key.models] : null,
    expiresAt: key.expiresAt ?? null,
  });
  return { id, apiKey };
}

export interface ListedApiKey {
  id: string;
  display: string;
  name: string;
  scopes: string[];
  createdAt: Date;
  expiresAt: Date | null;
  disabledAt: Date | null;
  lastUsedAt: Date | null;
}

/** Newest first, at most 1,000. */
export async function listApiKeys(db: Database, organizationId: string): Promise<ListedApiKey[]> {
  return db
    .select({
      id: apiKeys.id,
      display: apiKeys.display,
      name: apiKeys.name,
      scopes: apiKeys.scopes,
      createdAt: apiKeys.createdAt,
      expiresAt: apiKeys.expiresAt,
      disabledAt: apiKeys.disabledAt,
      lastUsedAt: apiKeys.lastUsedAt,
    })
    .from(apiKeys)
    .where(eq(apiKeys.organizationId, organizationId))
    .orderBy(sql`${apiKeys.createdAt} desc`)
    .limit(1000);
}

/** False when the organization has no such enabled key. Takes effect at the edge within its key cache's 5 seconds. */
export async function revokeApiKey(db: Database, organizationId: string, id: string): Promise<boolean> {
  const revoked = await db
    .update(apiKeys)
    .set({ disabledAt: sql`now()` })
    .where(and(eq(apiKeys.id, id), eq(apiKeys.organizationId, organizationId), isNull(apiKeys.disabledAt)))
    .returning({ id: apiKeys.id });
  return revoked.length > 0;
}
