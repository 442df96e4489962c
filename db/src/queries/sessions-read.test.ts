import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sql } from 'drizzle-orm';
import { bootstrapOrganization, newId } from '../bootstrap.ts';
import { createDatabase, type DatabaseClient } from '../client.ts';
import { createTestDatabase, type TestDatabase } from '../testing/postgres.ts';
import { createSession, deleteSession } from './sessions.ts';
import { findSession, listSessions, type SessionOwner } from './sessions-read.ts';
import { recordUsage } from './usage.ts';

let server: TestDatabase;
let client: DatabaseClient;
const owners: SessionOwner[] = [];

before(async () => {
  server = await createTestDatabase();
  client = createDatabase(server.url, { max: 2 });
  for (const name of ['a', 'b'])
    owners.push(
      await bootstrapOrganization(client.db, {
        organization: name,
        ownerEmail: `${name}@harbour.test`,
        masterKey: crypto.getRandomValues(new Uint8Array(32)),
      }),
    );
});
after(async () => {
  await client.close();
  await server.close();
});

const make = async (owner: SessionOwner) =>
  (
    await createSession(client.db, {
      id: newId('session'),
      organizationId: owner.organizationId,
      projectId: owner.projectId,
      model: 'm',
      ttlSeconds: 60,
      metadata: { case: '7' },
    })
  ).id;

test('pages through sessions without losing or repeating one, even with equal creation times', async () => {
  const made: string[] = [];
  for (let index = 0; index < 7; index++) made.push(await make(owners[0]!));
  await client.db.execute(sql`update sessions set created_at = date_trunc('hour', now())`);
  for (const order of ['asc', 'desc'] as const) {
    const seen: string[] = [];
    let after: string | undefined;
    for (;;) {
      const page = await listSessions(client.db, owners[0]!, { limit: 3, after, order });
      seen.push(...page.sessions.map((session) => session.id));
      if (!page.hasMore) break;
      after = seen.at(-1);
    }
    const sorted = [...made].sort();
    assert.deepEqual(seen, order === 'asc' ? sorted : sorted.reverse());
  }
});

test('shows a session to its own project only, and not after it expired or was deleted', async () => {
  const id = await make(owners[0]!);
  assert.deepEqual((await findSession(client.db, owners[0]!, id))?.metadata, { case: '7' });
  assert.equal(await findSession(client.db, owners[1]!, id), undefined);
  const otherProject = { organizationId: owners[0]!.organizationId, projectId: owners[1]!.projectId };
  assert.equal(await findSession(client.db, otherProject, id), undefined);
  assert.deepEqual((await listSessions(client.db, owners[1]!, { limit: 10, order: 'desc' })).sessions, []);
  await client.db.execute(sql`update sessions set expires_at = now() where id = ${id}`);
  assert.equal(await findSession(client.db, owners[0]!, id), undefined);
  const deleted = await make(owners[0]!);
  await deleteSession(client.db, owners[0]!.organizationId, deleted);
  assert.equal(await findSession(client.db, owners[0]!, deleted), undefined);
});

test('records the usage of a request once', async () => {
  const row = {
    requestId: newId('request'),
    ...owners[0]!,
    apiKeyId: 'key_1',
    model: 'm',
    endpoint: '/v1/completions',
    status: 'ok',
    promptTokens: 5,
    cachedTokens: 0,
    completionTokens: 2,
    tier: 'none',
    totalMs: 12.5,
  };
  await recordUsage(client.db, row);
  await recordUsage(client.db, { ...row, completionTokens: 9 });
  const rows = await client.db.execute(sql`select completion_tokens from usage where request_id = ${row.requestId}`);
  assert.deepEqual([...rows], [{ completion_tokens: 2 }]);
});
