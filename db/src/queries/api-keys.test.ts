import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { hashApiKey } from '@longshore/core';
import { sql } from 'drizzle-orm';
import { bootstrapOrganization } from '../bootstrap.ts';
import { createDatabase, type DatabaseClient } from '../client.ts';
import { createTestDatabase, type TestDatabase } from '../testing/postgres.ts';
import { findApiKey, touchApiKey } from './api-keys.ts';

let server: TestDatabase;
let client: DatabaseClient;
let hash: string;
let id: string;

before(async () => {
  server = await createTestDatabase();
  client = createDatabase(server.url, { max: 2 });
  const made = await bootstrapOrganization(client.db, {
    organization: 'Harbour',
    ownerEmail: 'owner@harbour.test',
    masterKey: crypto.getRandomValues(new Uint8Array(32)),
  });
  hash = hashApiKey(made.apiKey!);
  id = made.apiKeyId!;
});
after(async () => {
  await client.close();
  await server.close();
});

const change = (assignment: string) =>
  client.db.execute(sql.raw(`update api_keys set ${assignment} where id = '${id}'`));

test('finds a key by its hash only', async () => {
  const grant = await findApiKey(client.db, hash);
  assert.equal(grant?.id, id);
  assert.equal(grant?.state, 'active');
  assert.ok(grant?.scopes.includes('inference'));
  assert.equal(grant?.models, null);
  assert.equal(await findApiKey(client.db, hashApiKey('lsk_live_other')), undefined);
});

test('tells disabled and expired keys from active ones', async () => {
  await change('disabled_at = now()');
  assert.equal((await findApiKey(client.db, hash))?.state, 'disabled');
  await change("disabled_at = null, expires_at = now() - interval '1 second'");
  assert.equal((await findApiKey(client.db, hash))?.state, 'expired');
  await change("expires_at = now() + interval '1 hour'");
  assert.equal((await findApiKey(client.db, hash))?.state, 'active');
});

test('reads the model allow-list as an array', async () => {
  await change(`models = '{"a b",c}'`);
  assert.deepEqual((await findApiKey(client.db, hash))?.models, ['a b', 'c']);
});

test('writes last use at most once a minute', async () => {
  await change('last_used_at = null');
  await touchApiKey(client.db, id);
  const first = (await findApiKey(client.db, hash))?.lastUsedAt;
  assert.ok(first);
  await touchApiKey(client.db, id);
  assert.deepEqual((await findApiKey(client.db, hash))?.lastUsedAt, first);
  await change("last_used_at = now() - interval '61 seconds'");
  await touchApiKey(client.db, id);
  assert.ok((await findApiKey(client.db, hash))!.lastUsedAt! >= first);
});
