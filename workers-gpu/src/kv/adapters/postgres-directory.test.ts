import { bootstrapOrganization, byteSeconds, checkLedger, createDatabase, kvAccount, setQuota } from '@longshore/db';
import { createTestDatabase, runSql } from '@longshore/db/testing';
import { blockDirectoryContract } from '../testing/block-directory-contract.ts';
import { createPostgresDirectory } from './postgres-directory.ts';

/** Time passes by moving every stored time into the past: the database's clock cannot be set. */
const TIMES: Record<string, string[]> = {
  kv_objects: ['created_at', 'ready_at', 'last_used_at', 'expires_at', 'retired_at'],
  kv_meter_events: ['at'],
  leases: ['expires_at'],
};

blockDirectoryContract('Postgres', async () => {
  const database = await createTestDatabase();
  const client = createDatabase(database.url);
  const { db } = client;
  let organizations = 0;
  return {
    directory: createPostgresDirectory(db),
    async organization() {
      const made = await bootstrapOrganization(db, {
        organization: 'Test',
        ownerEmail: `${organizations++}@example.com`,
        masterKey: new Uint8Array(32),
      });
      return made.organizationId;
    },
    async advance(seconds) {
      for (const [table, columns] of Object.entries(TIMES)) {
        const moves = columns.map((column) => `${column} = ${column} - interval '${seconds} seconds'`);
        await runSql(database.url, `update ${table} set ${moves.join(', ')}`);
      }
    },
    setQuota: async (organizationId, bytes) => void (await setQuota(db, organizationId, bytes)),
    heldBytes: async (organizationId) => (await kvAccount(db, organizationId)).heldBytes,
    byteSeconds: async (organizationId) => Number(await byteSeconds(db, organizationId, new Date(0), new Date())),
    faults: () => checkLedger(db),
    async stop() {
      await client.close();
      await database.close();
    },
  };
});
