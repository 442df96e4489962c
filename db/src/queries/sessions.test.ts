import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eq, sql } from 'drizzle-orm';
import { bootstrapOrganization, newId } from '../bootstrap.ts';
import { createDatabase, type DatabaseClient } from '../client.ts';
import { kvObjects, sessions, turns } from '../schema.ts';
import { createTestDatabase, type TestDatabase } from '../testing/postgres.ts';
import { markObjectReady } from './kv-objects.ts';
import { reserveObject } from './kv-quota.ts';
import { expireSessions, retireOrphanTails } from './kv-sweep.ts';
import { commitTurn, createSession, deleteSession, failSession, loadSession } from './sessions.ts';

let database: TestDatabase;
let client: DatabaseClient;
let organizationId: string;
let projectId: string;

before(async () => {
  database = await createTestDatabase();
  client = createDatabase(database.url);
  const masterKey = new Uint8Array(32);
  const made = await bootstrapOrganization(client.db, { organization: 'A', ownerEmail: 'a@example.com', masterKey });
  ({ organizationId, projectId } = made);
});
after(async () => {
  await client.close();
  await database.close();
});

async function newSession(ttlSeconds = 600): Promise<string> {
  const id = newId('session');
  await createSession(client.db, { id, organizationId, projectId, model: 'm', ttlSeconds, metadata: { a: 'b' } });
  return id;
}

async function newTail(sessionId: string): Promise<string> {
  const key = newId('object');
  const object = { key, organizationId, namespace: new Uint8Array(32), firstToken: 0, tokenCount: 5, sessionId };
  await reserveObject(client.db, {
    ...object,
    storedBytes: 1,
    rawBytes: 1,
    codec: 'raw',
    workerId: 'w',
    ttlSeconds: 600,
  });
  assert.deepEqual(await markObjectReady(client.db, key, []), { taken: 0, orphaned: false });
  return key;
}

const commit = (sessionId: string, expectedVersion: number, tailObjectKey: string | null, tokenCount = 10) =>
  commitTurn(client.db, {
    organizationId,
    sessionId,
    expectedVersion,
    workerId: 'w1',
    tokenCount,
    sealedTokens: Uint8Array.of(1, 2, tokenCount),
    sealedTranscript: Uint8Array.of(3),
    tailObjectKey,
    headHash: null,
    turn: {
      requestId: 'req',
      promptTokens: tokenCount,
      cachedTokens: 0,
      completionTokens: 0,
      finishReason: 'stop',
      tier: 'none',
      ttftMs: 1.5,
    },
  });

const objectState = async (key: string) =>
  (await client.db.select().from(kvObjects).where(eq(kvObjects.key, key)))[0]?.state;

test('a first commit makes a session ready, with its tokens, tail and turn', async () => {
  const id = await newSession();
  assert.equal((await loadSession(client.db, organizationId, id))?.status, 'creating');
  const tail = await newTail(id);
  assert.equal(await commit(id, 0, tail), 1);
  const session = (await loadSession(client.db, organizationId, id))!;
  assert.deepEqual(
    [session.status, session.version, session.turnCount, session.tokenCount, session.tailObjectKey, session.workerId],
    ['ready', 1, 1, 10, tail, 'w1'],
  );
  assert.deepEqual(session.sealedTokens, Uint8Array.of(1, 2, 10));
  assert.deepEqual(session.metadata, { a: 'b' });
  const recorded = await client.db.select().from(turns).where(eq(turns.sessionId, id));
  assert.deepEqual(
    recorded.map((turn) => [turn.index, turn.ttftMs]),
    [[0, 1.5]],
  );
});

test('of turns that race from one version exactly one commits, and the loser changes nothing', async () => {
  const id = await newSession();
  assert.equal(await commit(id, 0, null), 1);
  const results = await Promise.all([11, 12, 13, 14].map((tokens) => commit(id, 1, null, tokens)));
  assert.equal(results.filter((version) => version === 2).length, 1);
  assert.equal(results.filter((version) => version === undefined).length, 3);
  const session = (await loadSession(client.db, organizationId, id))!;
  assert.equal(session.tokenCount, [11, 12, 13, 14][results.indexOf(2)]);
  assert.equal((await client.db.select().from(turns).where(eq(turns.sessionId, id))).length, 2);
});

test('a new tail retires the one before it, an unchanged one stays', async () => {
  const id = await newSession();
  const [first, second] = [await newTail(id), await newTail(id)];
  await commit(id, 0, first);
  await commit(id, 1, first);
  assert.equal(await objectState(first), 'ready');
  await commit(id, 2, second);
  assert.deepEqual([await objectState(first), await objectState(second)], ['tombstone', 'ready']);
});

test('a failed prefill shows its reason, and a ready session never becomes failed', async () => {
  const id = await newSession();
  assert.equal(await failSession(client.db, organizationId, id, 'x'.repeat(5000)), true);
  const [row] = await client.db.select().from(sessions).where(eq(sessions.id, id));
  assert.deepEqual([row!.status, row!.error!.length], ['failed', 1000]);
  assert.equal(await commit(id, 0, null), undefined);
  const ready = await newSession();
  await commit(ready, 0, null);
  assert.equal(await failSession(client.db, organizationId, ready, 'late'), false);
});

test('deleting forgets tokens and tail at once, is final, and a running turn can no longer commit', async () => {
  const id = await newSession();
  const tail = await newTail(id);
  await commit(id, 0, tail);
  assert.equal(await deleteSession(client.db, organizationId, id), true);
  assert.equal(await deleteSession(client.db, organizationId, id), false);
  assert.equal(await loadSession(client.db, organizationId, id), undefined);
  assert.equal(await objectState(tail), 'tombstone');
  const [row] = await client.db.select().from(sessions).where(eq(sessions.id, id));
  assert.deepEqual([row!.sealedTokens, row!.sealedTranscript, row!.tailObjectKey], [null, null, null]);
  assert.equal(await commit(id, 1, null), undefined);
  assert.equal(await commit(id, row!.version, null), undefined);
});

test("another organization neither loads, commits, fails nor deletes one's session", async () => {
  const id = await newSession();
  assert.equal(await loadSession(client.db, 'org_other', id), undefined);
  assert.equal(await failSession(client.db, 'org_other', id, 'no'), false);
  assert.equal(await deleteSession(client.db, 'org_other', id), false);
  assert.equal((await loadSession(client.db, organizationId, id))?.status, 'creating');
});

test('expired sessions are not loaded, are swept with their tail, and pinned ones stay', async () => {
  const [expired, pinned] = [await newSession(), await newSession()];
  const [tail, kept] = [await newTail(expired), await newTail(pinned)];
  await commit(expired, 0, tail);
  await commit(pinned, 0, kept);
  for (const id of [expired, pinned])
    await client.db
      .update(sessions)
      .set({ expiresAt: sql`now()`, pinned: id === pinned })
      .where(eq(sessions.id, id));
  assert.equal(await loadSession(client.db, organizationId, expired), undefined);
  assert.equal((await loadSession(client.db, organizationId, pinned))?.id, pinned);
  assert.equal(await expireSessions(client.db, 100), 1);
  assert.deepEqual([await objectState(tail), await objectState(kept)], ['tombstone', 'ready']);
  assert.equal(await expireSessions(client.db, 100), 0);
});

test('a tail that no session names is an orphan once it is old enough', async () => {
  const id = await newSession();
  const [named, lost] = [await newTail(id), await newTail(id)];
  await commit(id, 0, named);
  assert.equal(await retireOrphanTails(client.db, 3600, 100), 0);
  assert.ok((await retireOrphanTails(client.db, 0, 100)) >= 1);
  assert.deepEqual([await objectState(named), await objectState(lost)], ['ready', 'tombstone']);
});
