import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { hashApiKey, isWellFormedApiKey } from '@longshore/core';
import { eq } from 'drizzle-orm';
import { bootstrapOrganization } from './bootstrap.ts';
import { createDatabase, type DatabaseClient } from './client.ts';
import { migrate } from './migrate.ts';
import { insertDataKey, loadDataKeys } from './queries/data-keys.ts';
import { apiKeys, dataKeys, organizations } from './schema.ts';
import { createTestDatabase, type TestDatabase } from './testing/postgres.ts';

const masterKey = new Uint8Array(32).fill(7);
let database: TestDatabase;
let client: DatabaseClient;

before(async () => {
  database = await createTestDatabase();
  client = createDatabase(database.url);
});
after(async () => {
  await client.close();
  await database.close();
});

test('migrating again, also from two processes at once, changes nothing', async () => {
  await Promise.all([migrate(database.url), migrate(database.url)]);
});

test('bootstraps organization, keys and owner once; a second call finds them and shows no key', async () => {
  const options = { organization: 'Acme', ownerEmail: 'owner@example.com', masterKey };
  const first = await bootstrapOrganization(client.db, options);
  assert.equal(first.created, true);
  assert.ok(isWellFormedApiKey(first.apiKey!));
  const [row] = await client.db.select().from(apiKeys).where(eq(apiKeys.id, first.apiKeyId!));
  assert.equal(row!.hash, hashApiKey(first.apiKey!));
  assert.deepEqual(row!.scopes, ['inference', 'sessions', 'caches', 'admin:read', 'admin:write']);
  assert.ok(!JSON.stringify(row).includes(first.apiKey!), 'the key is not stored in clear');

  const again = await bootstrapOrganization(client.db, options);
  assert.deepEqual(again, {
    created: false,
    organizationId: first.organizationId,
    projectId: first.projectId,
    userId: first.userId,
  });
});

test('two bootstraps at once make one organization', async () => {
  const options = { organization: 'Race', ownerEmail: 'race@example.com', masterKey };
  const results = await Promise.all([1, 2, 3].map(() => bootstrapOrganization(client.db, options)));
  assert.equal(results.filter((result) => result.created).length, 1);
  assert.equal((await client.db.select().from(organizations).where(eq(organizations.name, 'Race'))).length, 1);
});

test('data keys come back unwrapped, newest first, and keep the chain secret over a rotation', async () => {
  const { organizationId } = await bootstrapOrganization(client.db, {
    organization: 'Keys',
    ownerEmail: 'keys@example.com',
    masterKey,
  });
  const [original] = await loadDataKeys(client.db, masterKey, organizationId);
  const rotated = await insertDataKey(client.db, masterKey, organizationId, original!.chainSecret);
  const keys = await loadDataKeys(client.db, masterKey, organizationId);
  assert.equal(keys.length, 2);
  assert.deepEqual(keys[0], rotated);
  assert.deepEqual(keys[1], original);
  assert.notDeepEqual(keys[0]!.dataKey, keys[1]!.dataKey);
  assert.deepEqual(keys[0]!.chainSecret, keys[1]!.chainSecret);
});

test('a wrong master key and a row moved to another organization both fail closed', async () => {
  const make = (name: string) =>
    bootstrapOrganization(client.db, { organization: name, ownerEmail: `${name}@example.com`, masterKey });
  const [a, b] = [await make('a'), await make('b')];
  await assert.rejects(loadDataKeys(client.db, new Uint8Array(32).fill(8), a.organizationId), /LONGSHORE_MASTER_KEY/);
  await client.db
    .update(dataKeys)
    .set({ organizationId: b.organizationId })
    .where(eq(dataKeys.organizationId, a.organizationId));
  await assert.rejects(loadDataKeys(client.db, masterKey, b.organizationId), /does not open/);
});
