import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createPostgresDirectory } from './adapters/postgres-directory.ts';
import type { LeaseAttempt } from './kv-store.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import type { Outcome } from './outcome.ts';
import { emptyStats } from './stats.ts';
import type { TenantKeys } from './tenant-keys.ts';
import { faultPlan, faulty } from './testing/faulty.ts';
import { type KvBench, openKvBench, tenantOf } from './testing/kv-bench.ts';

let bench: KvBench;
let tenant: TenantKeys;
let hashes = 0;
before(async () => {
  bench = await openKvBench();
  tenant = await tenantOf(bench.worker('w').store, await bench.organization());
});
after(() => bench.close());

const freshHash = () => new Uint8Array(32).fill(++hashes);
const keeper = (workerId: string, ttlMs = 3000, directory = createPostgresDirectory(bench.client.db)) =>
  new LeaseKeeper({
    directory,
    workerId,
    epoch: 'e',
    stats: emptyStats(),
    onFault: () => {},
    now: () => performance.now(),
    ttlMs,
  });

function unwrap<T>(outcome: Outcome<T>): T {
  assert.ok(outcome.ok, outcome.ok ? '' : outcome.fault.message);
  return outcome.value;
}
const acquired = (outcome: Outcome<LeaseAttempt>) => {
  const attempt = unwrap(outcome);
  assert.equal(attempt.state, 'acquired');
  return (attempt as Extract<LeaseAttempt, { state: 'acquired' }>).lease;
};
const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test('exactly one of many workers gets a lease; the others learn who has it', async () => {
  const hash = freshHash();
  const attempts = await Promise.all(
    Array.from({ length: 8 }, (_, index) => keeper(`w${index}`, 5000).acquire(tenant, hash)),
  );
  const states = attempts.map(unwrap);
  const winners = states.flatMap((state, index) => (state.state === 'acquired' ? [`w${index}`] : []));
  assert.equal(winners.length, 1);
  for (const state of states)
    if (state.state === 'held') {
      assert.equal(state.workerId, winners[0]);
      assert.ok(state.expiresInMs > 0 && state.expiresInMs <= 5000);
    }
});

test("a worker's own second request is held off too, and releasing one never releases another's", async () => {
  const hash = freshHash();
  const mine = keeper('same');
  const lease = acquired(await mine.acquire(tenant, hash));
  assert.equal(unwrap(await mine.acquire(tenant, hash)).state, 'held');
  await lease.release();
  const next = acquired(await mine.acquire(tenant, hash));
  await lease.release();
  assert.ok(unwrap(await mine.observe(hash)), 'the second lease stands');
  await next.release();
  assert.equal(unwrap(await mine.observe(hash)), undefined);
});

test('a held lease renews itself far beyond its ttl', async () => {
  const hash = freshHash();
  const holder = keeper('renewing', 1200);
  const lease = acquired(await holder.acquire(tenant, hash));
  await later(2800);
  assert.equal(lease.lost, false);
  assert.equal(unwrap(await keeper('other').acquire(tenant, hash)).state, 'held');
  await lease.release();
});

test('the lease of a worker that died is taken over once it has run out, and a late renewal knows that it lost', async () => {
  const hash = freshHash();
  const plan = faultPlan(1, 'dead');
  const dying = keeper('dying', 300, faulty(createPostgresDirectory(bench.client.db), plan));
  acquired(await dying.acquire(tenant, hash));
  const follower = keeper('follower');
  assert.equal(unwrap(await follower.follow(hash, 5000)), 'free');
  const taken = acquired(await follower.acquire(tenant, hash));

  plan.failAt = undefined;
  await later(250);
  assert.equal(taken.lost, false);
  assert.equal(unwrap(await follower.observe(hash))?.workerId, 'follower');
  await taken.release();
});

test('a holder whose lease was taken over finds out at its next renewal', async () => {
  const hash = freshHash();
  const plan = faultPlan(undefined, 'before');
  const directory = createPostgresDirectory(bench.client.db);
  const slow = keeper('slow', 240, {
    ...directory,
    renewLease: async (claim) => {
      await later(400);
      return directory.renewLease(claim);
    },
  });
  const lease = acquired(await slow.acquire(tenant, hash));
  assert.equal(unwrap(await keeper('next').follow(hash, 2000)), 'free');
  acquired(await keeper('next', 5000).acquire(tenant, hash));
  for (let tries = 0; tries < 50 && !lease.lost; tries++) await later(40);
  assert.equal(lease.lost, true);
  assert.equal(plan.calls, 0);
});

test('a follower waits for the release, gives up at its timeout, and stops when cancelled', async () => {
  const hash = freshHash();
  const holder = keeper('holder', 5000);
  const lease = acquired(await holder.acquire(tenant, hash));
  const startedAt = performance.now();
  assert.equal(unwrap(await keeper('f1').follow(hash, 200)), 'timeout');
  assert.ok(performance.now() - startedAt < 4000);
  const cancel = new AbortController();
  const cancelled = keeper('f2').follow(hash, 10_000, cancel.signal);
  const freed = keeper('f3').follow(hash, 10_000);
  setTimeout(() => cancel.abort(), 50);
  assert.equal((await cancelled).ok, false);
  await lease.release();
  assert.equal(unwrap(await freed), 'free');
});

test('closing gives up every lease at once', async () => {
  const [a, b] = [freshHash(), freshHash()];
  const holder = keeper('closing', 5000);
  acquired(await holder.acquire(tenant, a));
  acquired(await holder.acquire(tenant, b));
  await holder.close();
  for (const hash of [a, b]) assert.equal(unwrap(await keeper('x').observe(hash)), undefined);
});

test('an unreachable database is a fault, not an exception', async () => {
  const plan = faultPlan(0, 'dead');
  const broken = keeper('broken', 3000, faulty(createPostgresDirectory(bench.client.db), plan));
  for (const outcome of [
    await broken.acquire(tenant, freshHash()),
    await broken.observe(freshHash()),
    await broken.follow(freshHash(), 100),
  ])
    assert.equal(outcome.ok || outcome.fault.kind, 'unavailable');
});
