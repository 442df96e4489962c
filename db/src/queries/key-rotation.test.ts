import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { toHex } from '@longshore/core';
import { bootstrapOrganization } from '../bootstrap.ts';
import { createDatabase, type DatabaseClient } from '../client.ts';
import { localMasterKey } from '../master-key.ts';
import { createTestDatabase, runSql, type TestDatabase } from '../testing/postgres.ts';
import { loadDataKeys } from './data-keys.ts';
import { destroyRetiredKeys, rewrapDataKeys, rotateDataKeys } from './key-rotation.ts';

const OLD = new Uint8Array(32).fill(1);
const NEW = new Uint8Array(32).fill(2);
let database: TestDatabase;
let client: DatabaseClient;
let serial = 0;

before(async () => {
  database = await createTestDatabase();
  client = createDatabase(database.url);
});
after(async () => {
  await client.close();
  await database.close();
});

async function organization(): Promise<string> {
  const ownerEmail = `${serial++}@example.com`;
  return (await bootstrapOrganization(client.db, { organization: 'A', ownerEmail, masterKey: OLD })).organizationId;
}

test('a rotation makes a new data key and chain secret, and the old key still opens what it sealed', async () => {
  const id = await organization();
  const [before] = await loadDataKeys(client.db, OLD, id);
  assert.deepEqual(await rotateDataKeys(client.db, OLD, id), { retiredObjects: 0, retiredKeys: 1 });
  const [current, retired] = await loadDataKeys(client.db, OLD, id);
  assert.deepEqual([current!.retired, retired!.retired], [false, true]);
  assert.deepEqual(retired!.dataKey, before!.dataKey);
  assert.notDeepEqual(current!.dataKey, before!.dataKey);
  assert.notDeepEqual(current!.chainSecret, before!.chainSecret);
});

test('a rotation that keeps the chain changes the data key only', async () => {
  const id = await organization();
  const [before] = await loadDataKeys(client.db, OLD, id);
  await rotateDataKeys(client.db, OLD, id, { keepChain: true });
  const [current] = await loadDataKeys(client.db, OLD, id);
  assert.deepEqual(current!.chainSecret, before!.chainSecret);
  assert.notDeepEqual(current!.dataKey, before!.dataKey);
});

test('a rotation with the wrong master key, or of no organization, changes nothing', async () => {
  const id = await organization();
  await assert.rejects(rotateDataKeys(client.db, NEW, id), { code: 'internal' });
  assert.equal((await loadDataKeys(client.db, OLD, id)).length, 1);
  assert.equal(await rotateDataKeys(client.db, OLD, 'org_none'), undefined);
});

test('while two master keys are known every key opens; after the re-wrap the new one alone opens all', async () => {
  const id = await organization();
  await rotateDataKeys(client.db, OLD, id);
  const secrets = async (master: Parameters<typeof loadDataKeys>[1]) =>
    (await loadDataKeys(client.db, master, id)).map((key) => [toHex(key.dataKey), toHex(key.chainSecret)]);
  const both = localMasterKey(NEW, OLD);
  const before = await secrets(OLD);
  assert.deepEqual(await secrets(both), before);
  await assert.rejects(secrets(NEW), { code: 'internal' });
  const count = await rewrapDataKeys(client.db, both);
  assert.ok(count >= 2);
  assert.deepEqual(await secrets(NEW), before);
  await assert.rejects(secrets(OLD), { code: 'internal' });
  assert.equal(await rewrapDataKeys(client.db, both), count, 'again is harmless');
  assert.equal(await rewrapDataKeys(client.db, localMasterKey(OLD, NEW)), count, 'and the way back works');
});

test('a retired key is destroyed once no object and no session needs it, and not before', async () => {
  const id = await organization();
  const [old] = await loadDataKeys(client.db, OLD, id);
  const left = async () => (await loadDataKeys(client.db, OLD, id)).length;
  const sql = (statement: string, parameters: string[] = [id]) => runSql(database.url, statement, parameters);
  await sql(`insert into kv_objects (key, organization_id, namespace, state, first_token, token_count, stored_bytes, raw_bytes, codec,
    worker_id, expires_at) values ('kv/1', $1, '\\x00', 'ready', 0, 128, 1, 1, 'raw', 'w', now() + interval '1 day')`);
  const [project] = await sql('select id from projects where organization_id = $1');
  await sql(
    `insert into sessions (id, organization_id, project_id, model, status, sealed_tokens, ttl_seconds, expires_at)
      values ('ses_1', $1, $2, 'm', 'ready', decode($3, 'hex'), 600, now() + interval '1 day')`,
    [id, String(project!.id), `${toHex(old!.id)}00`],
  );
  await rotateDataKeys(client.db, OLD, id, { keepChain: true });
  await destroyRetiredKeys(client.db, 100);
  assert.equal(await left(), 2, 'a worker may still have it');
  await sql(`update data_keys set retired_at = retired_at - interval '1 hour' where organization_id = $1`);
  await sql(`update kv_objects set created_at = created_at - interval '2 hours' where organization_id = $1`);
  await destroyRetiredKeys(client.db, 100);
  assert.equal(await left(), 2, 'an object needs it');
  await sql(`update kv_objects set state = 'tombstone', retired_at = now() where organization_id = $1`);
  await destroyRetiredKeys(client.db, 100);
  assert.equal(await left(), 2, 'a session needs it');
  await sql(`update sessions set sealed_tokens = null where organization_id = $1`);
  assert.equal(await destroyRetiredKeys(client.db, 100), 1);
  assert.equal(await left(), 1);
});
