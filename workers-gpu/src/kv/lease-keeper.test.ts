import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createPostgresDirectory } from './adapters/postgres-directory.ts';
import type { ForeignClaim, Lease, LeaseAttempt } from './kv-store.ts';
import { LeaseKeeper } from './lease-keeper.ts';
import type { Outcome } from './outcome.ts';
import { emptyStats } from './stats.ts';
import type { TenantKeys } from './tenant-keys.ts';
import { faultPlan, faulty } from './testing/faulty.ts';
import { type KvBench, openKvBench, tenantOf } from './testing/kv-bench.ts';

let bench: KvBench;
let tenant: TenantKeys;
let chains = 0;
before(async () => {
  bench = await openKvBench();
  tenant = await tenantOf(bench.worker('w').store, await bench.organization());
});
after(() => bench.close());

/** Hashes that no other test has; `parted` replaces those from a block on. */
const freshChain = (blocks = 8) => chainFrom(++chains, blocks);
const chainFrom = (seed: number, blocks: number, from = 0) =>
  Array.from({ length: blocks }, (_, index) => new Uint8Array(32).fill(seed).fill(from + index + 1, 0, 1));
const parted = (hashes: Uint8Array[], at: number) => [
  ...hashes.slice(0, at),
  ...chainFrom(++chains, hashes.length - at, at),
];

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
const claim = (
  of: LeaseKeeper,
  hashes: Uint8Array[],
  firstBlock = 0,
  progress = { computedBlocks: firstBlock, blockMs: 5 },
) => of.claim({ tenant, hashes, firstBlock, progress: () => progress });

function unwrap<T>(outcome: Outcome<T>): T {
  assert.ok(outcome.ok, outcome.ok ? '' : outcome.fault.message);
  return outcome.value;
}
function leaseOf(outcome: Outcome<LeaseAttempt>, state: 'acquired' | 'shared' = 'acquired'): Lease {
  const attempt = unwrap(outcome);
  assert.equal(attempt.state, state);
  return (attempt as Extract<LeaseAttempt, { lease: Lease }>).lease;
}
function holderOf(outcome: Outcome<LeaseAttempt>): ForeignClaim {
  const attempt = unwrap(outcome);
  assert.equal(attempt.state, 'held');
  return (attempt as Extract<LeaseAttempt, { state: 'held' }>).claim;
}
const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
async function until(probe: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 20_000;
  while (!(await probe())) {
    assert.ok(Date.now() < end, 'not within 20 s');
    await later(20);
  }
}

test('exactly one of many workers gets the lease; the others learn who has it and how far it reaches', async () => {
  const hashes = freshChain();
  const attempts = await Promise.all(Array.from({ length: 8 }, (_, index) => claim(keeper(`w${index}`, 5000), hashes)));
  const winners = attempts.flatMap((attempt, index) => (unwrap(attempt).state === 'acquired' ? [`w${index}`] : []));
  assert.equal(winners.length, 1);
  for (const attempt of attempts) {
    if (unwrap(attempt).state === 'acquired') continue;
    const holder = holderOf(attempt);
    assert.deepEqual([holder.workerId, holder.reach], [winners[0], 8]);
    assert.ok(holder.expiresInMs > 0 && holder.expiresInMs <= 5000);
  }
});

test('whoever already has the first blocks is held off too, as far as the chains are the same', async () => {
  const hashes = freshChain(10);
  const lease = leaseOf(await claim(keeper('leader', 5000), hashes, 2));
  const other = keeper('other', 5000);
  assert.equal(holderOf(await claim(other, hashes, 5)).reach, 10, 'five blocks are stored by now');
  assert.equal(holderOf(await claim(other, parted(hashes, 7), 4)).reach, 7);
  const beyond = leaseOf(await claim(other, parted(hashes, 7), 7), 'acquired');
  const before = leaseOf(await claim(keeper('third', 5000), hashes, 0), 'acquired');
  await Promise.all([lease, beyond, before].map((one) => one.release()));
  assert.equal(unwrap(await other.observe(tenant, hashes, 5)), undefined);
});

test("a worker's requests share its lease, and it lasts until the last of them gave it back", async () => {
  const hashes = freshChain();
  const mine = keeper('same', 5000);
  const first = leaseOf(await claim(mine, hashes));
  const second = leaseOf(await claim(mine, parted(hashes, 6), 3), 'shared');
  await first.release();
  await first.release();
  assert.equal(holderOf(await claim(keeper('other'), hashes)).workerId, 'same');
  await second.release();
  leaseOf(await claim(keeper('other'), hashes));
});

test('requests that claim at the same time share one lease too: none is told that its own worker is the leader', async () => {
  const hashes = freshChain();
  const mine = keeper('crowded', 5000);
  const attempts = await Promise.all(Array.from({ length: 6 }, () => claim(mine, hashes)));
  const states = attempts.map((attempt) => unwrap(attempt).state);
  assert.deepEqual(states.sort(), ['acquired', ...Array(5).fill('shared')]);
  const handles = attempts.map((attempt) => (unwrap(attempt) as Extract<LeaseAttempt, { lease: Lease }>).lease);
  const last = handles.pop()!;
  await Promise.all(handles.map((lease) => lease.release()));
  assert.equal(holderOf(await claim(keeper('other'), hashes)).workerId, 'crowded');
  await last.release();
  leaseOf(await claim(keeper('other'), hashes));
});

test('nothing is shared between organizations', async () => {
  const hashes = freshChain();
  leaseOf(await claim(keeper('a', 5000), hashes));
  const stranger = await tenantOf(bench.worker('x').store, await bench.organization());
  assert.equal(unwrap(await keeper('b').observe(stranger, hashes, 0)), undefined);
});

test('a held lease renews itself far beyond its ttl and tells how far its holder is', async () => {
  const hashes = freshChain();
  const progress = { computedBlocks: 1, blockMs: 7 };
  const lease = leaseOf(await claim(keeper('renewing', 2500), hashes, 1, progress));
  const other = keeper('other');
  for (const blocks of [2, 5]) {
    progress.computedBlocks = blocks;
    await until(async () => unwrap(await other.observe(tenant, hashes, 1))?.computedBlocks === blocks);
  }
  await later(2600);
  assert.equal(unwrap(await other.observe(tenant, hashes, 3))?.blockMs, 7);
  assert.equal(lease.lost, false);
  assert.equal(holderOf(await claim(other, hashes, 1)).workerId, 'renewing');
  await lease.release();
});

test('the lease of a worker that died is taken over once it has run out, and a late renewal knows that it lost', async () => {
  const hashes = freshChain();
  const plan = faultPlan(undefined, 'dead');
  const dying = keeper('dying', 400, faulty(createPostgresDirectory(bench.client.db), plan));
  const lease = leaseOf(await claim(dying, hashes));
  plan.failAt = plan.calls;
  const follower = keeper('follower', 10_000);
  let taken: Lease | undefined;
  await until(async () => {
    const attempt = unwrap(await claim(follower, hashes));
    if (attempt.state === 'acquired') taken = attempt.lease;
    return taken !== undefined;
  });
  plan.failAt = undefined;
  await until(async () => lease.lost);
  assert.equal(taken!.lost, false);
  assert.equal(unwrap(await dying.observe(tenant, hashes, 0))?.workerId, 'follower');
  await taken!.release();
});

test('closing gives up every lease at once', async () => {
  const [a, b] = [freshChain(), freshChain()];
  const holder = keeper('closing', 5000);
  leaseOf(await claim(holder, a));
  leaseOf(await claim(holder, b));
  await holder.close();
  for (const hashes of [a, b]) assert.equal(unwrap(await keeper('x').observe(tenant, hashes, 0)), undefined);
});

test('an unreachable database is a fault, not an exception', async () => {
  const plan = faultPlan(0, 'dead');
  const broken = keeper('broken', 3000, faulty(createPostgresDirectory(bench.client.db), plan));
  for (const outcome of [await claim(broken, freshChain()), await broken.observe(tenant, freshChain(), 0)])
    assert.equal(outcome.ok || outcome.fault.kind, 'unavailable');
});
