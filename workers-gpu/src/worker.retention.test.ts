import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { changeSession, checkLedger, deleteSession, kvAccount } from '@longshore/db';
import { rawSql } from '@longshore/db/testing';
import { said } from './testing/prompts.ts';
import { openWorkerBench, type RunningWorker, type WorkerBench } from './testing/worker-bench.ts';

/** How long what a worker stored is kept, seen through its requests: real engine, real database. */
const TEXT = 'The lamp was lit at dusk, and the book was kept dry under the stairs where the oil stood. ';
const DAY = 86_400;

let bench: WorkerBench;
let worker: RunningWorker;
before(async () => {
  bench = await openWorkerBench();
  worker = await bench.worker('a');
});
after(async () => {
  assert.deepEqual(await checkLedger(bench.client.db), []);
  await bench.close();
});

const sql = (statement: string) => rawSql(bench.client.db, statement);
/** Seconds until the first of the organization's living objects expires. */
async function soonest(): Promise<number> {
  const [row] = await sql(`select min(extract(epoch from expires_at - now()))::float8 as seconds from kv_objects
    where organization_id = '${bench.organizationId}' and state = 'ready' and session_id is null`);
  return Number(row!.seconds);
}
async function until(what: string, holds: () => Promise<boolean>) {
  for (let tries = 0; tries < 400; tries++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(what);
}
const living = async () =>
  Number(
    (
      await sql(
        `select count(*)::int as count from kv_objects where organization_id = '${bench.organizationId}' and state = 'ready'`,
      )
    )[0]!.count,
  );

test('a prompt that the device still holds keeps its stored copy from expiring', async () => {
  const request = { input: said(TEXT.repeat(30)), maxTokens: 2, sampling: { temperature: 0 } };
  await worker.generate(request);
  await until('the prompt is stored', async () => (await living()) > 0);
  await sql(`update kv_objects set expires_at = now() + interval '90 seconds'`);
  const again = await worker.generate(request);
  assert.equal(again.done?.cache.tier, 'device');
  const rows = async () =>
    sql(
      'select first_token as "first", token_count as count, state, extract(epoch from expires_at - now())::float8 as seconds from kv_objects',
    );
  const slid = async () => (await rows()).some((row) => row.first === 0 && Number(row.seconds) > DAY);
  await until(`its expiry slid: ${JSON.stringify([await rows(), again.done?.usage])}`, slid);
});

test('a session keeps its blocks for its own time to live, pins them while it is pinned, and ends their bill when it is deleted', async () => {
  // What the test before still stores may be a child of what is retired here, which the database refuses.
  await until('nothing is stored', async () => {
    await sql(`update kv_objects set state = 'tombstone', retired_at = now() where state = 'ready'`).catch(() => {});
    return (await living()) === 0;
  });
  const session = await bench.session();
  await sql(`update sessions set ttl_seconds = ${20 * DAY} where id = '${session}'`);
  const created = await worker.prefill({ session, input: said(`A story: ${TEXT.repeat(30)}`) });
  assert.equal(created.status, 200);
  assert.ok((await living()) >= 2, 'blocks and a tail');
  assert.ok((await soonest()) > 19 * DAY, 'longer than the worker would keep them by itself');

  const [owner] = await sql(
    `select organization_id as "organizationId", project_id as "projectId" from sessions where id = '${session}'`,
  );
  const change = (pinned: boolean) =>
    changeSession(bench.client.db, owner as { organizationId: string; projectId: string }, session, { pinned });
  const pins = async () =>
    Number((await sql(`select count(*)::int as count from kv_pins where holder = '${session}'`))[0]!.count);
  await change(true);
  const before = await pins();
  assert.ok(before > 0);
  await worker.generate({ session, input: said(TEXT.repeat(20)), maxTokens: 2, sampling: { temperature: 0 } });
  assert.ok((await pins()) > before, 'what a turn adds is pinned too');
  await change(false);
  assert.equal(await pins(), 0);
  await change(true);

  assert.equal(await deleteSession(bench.client.db, bench.organizationId, session), true);
  assert.equal(await living(), 0);
  assert.equal((await kvAccount(bench.client.db, bench.organizationId)).heldBytes, 0);
});

test('parents that the store gave up while the device held them are stored again with their child', async () => {
  const request = (repeats: number) => ({
    input: said(`Once more: ${TEXT.repeat(repeats)}`),
    maxTokens: 2,
    sampling: { temperature: 0 },
  });
  const readyFrom = async () =>
    (await sql(`select distinct first_token as "first" from kv_objects where state = 'ready' order by 1`)).map((row) =>
      Number(row.first),
    );
  await until('nothing is stored', async () => {
    await sql(`update kv_objects set state = 'tombstone', retired_at = now() where state = 'ready'`).catch(() => {});
    return (await living()) === 0;
  });
  await worker.generate(request(20));
  await until('the parents are stored', async () => (await readyFrom())[0] === 0);
  await until('nothing is stored', async () => {
    await sql(`update kv_objects set state = 'tombstone', retired_at = now() where state = 'ready'`).catch(() => {});
    return (await living()) === 0;
  });
  const longer = await worker.generate(request(60));
  assert.equal(longer.done?.cache.tier, 'device');
  await until(`the child and its parents are stored: ${await readyFrom()}`, async () => (await readyFrom()).length > 1);
  assert.equal((await readyFrom())[0], 0);
});
