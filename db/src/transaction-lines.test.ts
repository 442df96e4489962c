import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'drizzle-orm';
import { createDatabase, type Database, type DatabaseClient } from './client.ts';
import { createTestDatabase, type TestDatabase } from './testing/postgres.ts';

let database: TestDatabase;
let client: DatabaseClient;
let other: DatabaseClient;
const uncaught: Error[] = [];
const keep = (error: Error) => void uncaught.push(error);

before(async () => {
  database = await createTestDatabase();
  client = createDatabase(database.url, { max: 4 });
  other = createDatabase(database.url, { max: 1 });
  await client.db.execute(sql`create table notes (text text)`);
  process.on('uncaughtException', keep);
});
after(async () => {
  process.off('uncaughtException', keep);
  await client?.close();
  await other?.close();
  await database?.close();
});

const single = async (db: Pick<Database, 'execute'>, query: ReturnType<typeof sql>) =>
  Object.values((await db.execute(query))[0] as Record<string, unknown>)[0];
const notes = () => single(client.db, sql`select count(*)::int from notes`);
const kill = (pid: unknown) => other.db.execute(sql`select pg_terminate_backend(${pid}::int)`);

test('a transaction is committed whole, and rolled back whole when its callback or a statement fails', async () => {
  const write = (tx: Pick<Database, 'execute'>) => tx.execute(sql`insert into notes values ('one')`);
  assert.equal(
    await client.db.transaction(async (tx) => {
      await write(tx);
      return 'written';
    }),
    'written',
  );
  const failing = client.db.transaction(async (tx) => {
    await write(tx);
    throw new Error('no');
  });
  await assert.rejects(failing, /no/);
  const swallowed = client.db.transaction(async (tx) => {
    await write(tx);
    await tx.execute(sql`select * from nowhere`).catch(() => {});
  });
  await assert.rejects(swallowed);
  assert.equal(await notes(), 1);
});

for (const [when, text] of [
  ['short', 'x'],
  ['long', 'x'.repeat(3000)],
] as const) {
  test(`a connection that closes between two statements fails its transaction and nothing else (next statement ${when})`, async () => {
    const before = await notes();
    let asked: unknown;
    const lost = client.db.transaction(async (tx) => {
      const pid = await single(tx, sql`select pg_backend_pid()`);
      await tx.execute(sql`insert into notes values ('lost')`);
      await kill(pid);
      await sleep(200);
      asked = await tx.execute(sql`insert into notes values (${text})`).catch((error: unknown) => error);
    });
    await assert.rejects(lost, (error: Error) =>
      /connection/i.test(`${error.message} ${(error.cause as Error)?.message}`),
    );
    await sleep(400);
    assert.ok(asked instanceof Error, 'what the callback asks afterwards is refused');
    assert.deepEqual(uncaught, []);
    for (let round = 0; round < 8; round++) {
      await client.db.transaction((tx) => tx.execute(sql`select 1`));
      await client.db.execute(sql`select 1`);
    }
    assert.equal(await notes(), before);
  });
}

test('a connection that closes inside a statement fails its transaction and nothing else', async () => {
  const lost = client.db.transaction(async (tx) => {
    const pid = await single(tx, sql`select pg_backend_pid()`);
    const slow = tx.execute(sql`select pg_sleep(20)`);
    await kill(pid);
    await slow;
  });
  await assert.rejects(lost);
  await sleep(100);
  assert.deepEqual(uncaught, []);
  assert.equal(await client.db.transaction((tx) => single(tx, sql`select 7`)), 7);
});

test('more transactions than connections take turns', async () => {
  const results = await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      client.db.transaction(async (tx) => Number(await single(tx, sql`select ${index}::int`))),
    ),
  );
  assert.deepEqual(
    results,
    Array.from({ length: 40 }, (_, index) => index),
  );
});
