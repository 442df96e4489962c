import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eq, sql } from 'drizzle-orm';
import { bootstrapOrganization, newId } from '../bootstrap.ts';
import { createDatabase, type DatabaseClient } from '../client.ts';
import { kvObjects, sessions, turns } from '../schema.ts';
import { createTestDatabase, type TestDatabase } from '../testing/postgres.ts';
import { markObjectReady } from './kv-objects.ts';
import { reserveObject } from './kv-quota.ts';
import { expireSessions } from './kv-sweep.ts';
import { changeSession, cutSession, forkSession } from './session-changes.ts';
import { commitTurn, createSession, deleteSession, loadSession } from './sessions.ts';

let database: TestDatabase;
let client: DatabaseClient;
let owner: { organizationId: string; projectId: string };

before(async () => {
  database = await createTestDatabase();
  client = createDatabase(database.url);
  const masterKey = new Uint8Array(32);
  owner = await bootstrapOrganization(client.db, { organization: 'A', ownerEmail: 'a@example.com', masterKey });
});
after(async () => {
  await client.close();
  await database.close();
});

async function object(sessionId?: string, ttlSeconds = 600): Promise<string> {
  const key = newId('object');
  const { organizationId } = owner;
  const shape = {
    namespace: new Uint8Array(32),
    firstToken: 0,
    tokenCount: 5,
    storedBytes: 1,
    rawBytes: 1,
    codec: 'raw',
  };
  await reserveObject(client.db, { key, organizationId, ...shape, workerId: 'w', ttlSeconds, sessionId });
  return key;
}

async function readySession(headHash: Uint8Array | null = null): Promise<{ id: string; tail: string }> {
  const id = newId('session');
  await createSession(client.db, { id, ...owner, model: 'm', ttlSeconds: 600, label: 'Origin', metadata: { a: 'b' } });
  const tail = await object(id);
  await markObjectReady(client.db, tail, []);
  for (const version of [0, 1]) await commit(id, version, tail, headHash);
  return { id, tail };
}

const commit = (
  sessionId: string,
  expectedVersion: number,
  tailObjectKey: string,
  headHash: Uint8Array | null = null,
) =>
  commitTurn(client.db, {
    organizationId: owner.organizationId,
    sessionId,
    expectedVersion,
    workerId: 'w1',
    tokenCount: 10 * (expectedVersion + 1),
    sealedTokens: Uint8Array.of(1, 2),
    sealedTranscript: Uint8Array.of(3),
    tailObjectKey,
    headHash,
    turn: {
      requestId: 'r',
      promptTokens: 5,
      cachedTokens: 0,
      completionTokens: 0,
      finishReason: 'stop',
      tier: 'none',
      ttftMs: 1,
    },
  });

const fork = (sourceId: string, fields = {}) =>
  forkSession(client.db, owner, { id: newId('session'), sourceId, ...fields });
const stateOf = async (key: string) =>
  (await client.db.select({ state: kvObjects.state }).from(kvObjects).where(eq(kvObjects.key, key)))[0]?.state;
const rowOf = async (id: string) => (await loadSession(client.db, owner.organizationId, id))!;

test('a fork has its origin’s tokens, turns and tail object, and writes no object', async () => {
  const { id, tail } = await readySession(Uint8Array.of(9));
  const objects = async () => (await client.db.select({ key: kvObjects.key }).from(kvObjects)).length;
  const before = await objects();
  const made = (await fork(id, { label: null, ttlSeconds: 60 }))!;
  assert.equal(await objects(), before);
  assert.deepEqual(
    [made.status, made.tokenCount, made.turnCount, made.forkedFrom, made.label, made.metadata],
    ['ready', 20, 2, id, null, { a: 'b' }],
  );
  const row = await rowOf(made.id);
  assert.deepEqual([row.tailObjectKey, row.sealedFor, [...row.sealedTokens!]], [tail, id, [1, 2]]);
  assert.deepEqual([...row.headHash!], [9]);
  const copied = await client.db.select().from(turns).where(eq(turns.sessionId, made.id));
  assert.equal(copied.length, 2);
  const second = (await fork(made.id))!;
  assert.equal((await rowOf(second.id)).sealedFor, id, 'a fork of a fork opens what the first origin sealed');
});

test('the shared tail lives until the last session lets go of it, whoever that is', async () => {
  const { id, tail } = await readySession();
  const a = (await fork(id))!;
  const b = (await fork(a.id))!;
  await deleteSession(client.db, owner.organizationId, id);
  assert.equal(await stateOf(tail), 'ready');
  const newTail = await object(a.id);
  await markObjectReady(client.db, newTail, []);
  await commit(a.id, 0, newTail);
  assert.equal(await stateOf(tail), 'ready');
  assert.equal((await rowOf(a.id)).sealedFor, null, 'what a fork commits is sealed for itself');
  await client.db.update(sessions).set({ expiresAt: sql`now() - interval '1 second'` }).where(eq(sessions.id, b.id));
  await expireSessions(client.db, 10);
  assert.equal(await stateOf(tail), 'tombstone');
  assert.equal(await stateOf(newTail), 'ready');
});

test('two sessions that let go of a shared tail at once leave nothing behind', async () => {
  for (let round = 0; round < 10; round++) {
    const { id, tail } = await readySession();
    const made = (await fork(id))!;
    await Promise.all([id, made.id].map((one) => deleteSession(client.db, owner.organizationId, one)));
    assert.equal(await stateOf(tail), 'tombstone');
  }
});

test('a fork that races with its origin’s deletion gets a tail that lives, or nothing', async () => {
  for (let round = 0; round < 20; round++) {
    const { id, tail } = await readySession();
    const [made] = await Promise.all([fork(id), deleteSession(client.db, owner.organizationId, id)]);
    assert.equal(await stateOf(tail), made === undefined ? 'tombstone' : 'ready');
  }
});

test('only ready, live sessions of the same project can be forked', async () => {
  const { id } = await readySession();
  assert.equal(
    await forkSession(client.db, { ...owner, projectId: 'other' }, { id: newId('session'), sourceId: id }),
    undefined,
  );
  const creating = newId('session');
  await createSession(client.db, { id: creating, ...owner, model: 'm', ttlSeconds: 600 });
  assert.equal(await fork(creating), undefined);
});

test('a cut counts only from the version that it was made from, drops later turns and retires the tail', async () => {
  const { id, tail } = await readySession();
  const cut = {
    organizationId: owner.organizationId,
    sessionId: id,
    tokenCount: 10,
    turnCount: 1,
    sealedTokens: Uint8Array.of(1),
    sealedTranscript: Uint8Array.of(2),
    tailObjectKey: null,
    headHash: null,
  };
  assert.equal(await cutSession(client.db, { ...cut, expectedVersion: 1 }), undefined);
  assert.equal(await stateOf(tail), 'ready');
  assert.equal(await cutSession(client.db, { ...cut, expectedVersion: 2 }), 3);
  const row = await rowOf(id);
  assert.deepEqual([row.tokenCount, row.turnCount, row.tailObjectKey], [10, 1, null]);
  assert.equal((await client.db.select().from(turns).where(eq(turns.sessionId, id))).length, 1);
  assert.equal(await stateOf(tail), 'tombstone');
});

test('changes what is given and keeps the rest; a longer life reaches every stored object of the session', async () => {
  const root = new Uint8Array(32);
  const hashes = [1, 2, 3].map((value) => new Uint8Array(32).fill(value));
  const keys = [await object(), await object()];
  const block = (index: number, indexInObject: number) => ({
    hash: hashes[index]!,
    parentHash: index === 0 ? root : hashes[index - 1]!,
    blockIndex: index,
    indexInObject,
  });
  await markObjectReady(client.db, keys[0]!, [block(0, 0), block(1, 1)]);
  await markObjectReady(client.db, keys[1]!, [block(2, 0)]);
  const { id, tail } = await readySession(hashes[2]!);
  const bystander = await object();
  await markObjectReady(client.db, bystander, []);

  const labelled = (await changeSession(client.db, owner, id, { label: 'New', metadata: { c: 'd' } }))!;
  assert.deepEqual([labelled.label, labelled.metadata, labelled.ttlSeconds], ['New', { c: 'd' }, 600]);
  const longer = (await changeSession(client.db, owner, id, { ttlSeconds: 86_400 }))!;
  assert.equal(longer.label, 'New');
  const lives = async (key: string) => {
    const [row] = await client.db.select({ at: kvObjects.expiresAt }).from(kvObjects).where(eq(kvObjects.key, key));
    return row!.at.getTime() - Date.now() > 80_000_000;
  };
  assert.deepEqual(await Promise.all([...keys, tail, bystander].map(lives)), [true, true, true, false]);
  const shorter = (await changeSession(client.db, owner, id, { ttlSeconds: 60 }))!;
  assert.ok(shorter.expiresAt.getTime() - Date.now() < 61_000);
  assert.equal(await changeSession(client.db, { ...owner, projectId: 'other' }, id, { label: 'x' }), undefined);
});

test('a pinned session outlives its expiry; unpinned it lives for its TTL again', async () => {
  const { id } = await readySession();
  await changeSession(client.db, owner, id, { pinned: true });
  await client.db.update(sessions).set({ expiresAt: sql`now() - interval '1 day'` }).where(eq(sessions.id, id));
  await expireSessions(client.db, 10);
  assert.ok(await loadSession(client.db, owner.organizationId, id));
  const unpinned = (await changeSession(client.db, owner, id, { pinned: false }))!;
  assert.ok(unpinned.expiresAt.getTime() > Date.now() + 500_000);
});
