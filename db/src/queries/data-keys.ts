import { toHex } from '@longshore/core';
import { desc, eq } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { asMasterKey, type MasterKeyOrBytes } from '../master-key.ts';
import { dataKeys } from '../schema.ts';

/** One unwrapped row of data_keys. Secrets: never logged. */
export interface OpenedDataKey {
  /** 16 bytes, as in object headers. */
  id: Uint8Array<ArrayBuffer>;
  /** AES-256 key that seals the organization's objects. */
  dataKey: Uint8Array<ArrayBuffer>;
  /** Roots the organization's hash chains. */
  chainSecret: Uint8Array<ArrayBuffer>;
  retired: boolean;
}

export const contextOf = (what: 'data-key' | 'chain-secret', organizationId: string, id: Uint8Array) =>
  `${what}:${organizationId}:${toHex(id)}`;

/** Adds an organization's new current key. `chainSecret` absent: a new chain, for a new organization. */
export async function insertDataKey(
  db: Pick<Database, 'insert'>,
  masterKey: MasterKeyOrBytes,
  organizationId: string,
  chainSecret: Uint8Array<ArrayBuffer> = crypto.getRandomValues(new Uint8Array(32)),
): Promise<OpenedDataKey> {
  const id = crypto.getRandomValues(new Uint8Array(16));
  const dataKey = crypto.getRandomValues(new Uint8Array(32));
  const master = asMasterKey(masterKey);
  await db.insert(dataKeys).values({
    id,
    organizationId,
    wrappedDataKey: await master.wrap(dataKey, contextOf('data-key', organizationId, id)),
    wrappedChainSecret: await master.wrap(chainSecret, contextOf('chain-secret', organizationId, id)),
  });
  return { id, dataKey, chainSecret, retired: false };
}

/** All of an organization's keys, newest first; empty for an unknown organization. Throws when the master key is wrong. */
export async function loadDataKeys(
  db: Pick<Database, 'select'>,
  masterKey: MasterKeyOrBytes,
  organizationId: string,
): Promise<OpenedDataKey[]> {
  const rows = await db
    .select()
    .from(dataKeys)
    .where(eq(dataKeys.organizationId, organizationId))
    .orderBy(desc(dataKeys.createdAt), desc(dataKeys.id))
    .limit(64);
  const master = asMasterKey(masterKey);
  return Promise.all(
    rows.map(async (row) => ({
      id: new Uint8Array(row.id),
      dataKey: await master.unwrap(row.wrappedDataKey, contextOf('data-key', organizationId, row.id)),
      chainSecret: await master.unwrap(row.wrappedChainSecret, contextOf('chain-secret', organizationId, row.id)),
      retired: row.retiredAt !== null,
    })),
  );
}
