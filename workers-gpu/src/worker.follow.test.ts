import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import {
  MODEL_ID,
  openWorkerBench,
  type RunningWorker,
  readAnswer,
  type StepFilter,
  type WorkerBench,
} from './testing/worker-bench.ts';

/** One worker prefills, another one follows it, and something goes wrong with either. Engines, database and store are real. */
let bench: WorkerBench;
let twin: RunningWorker;
let serial = 0;
before(async () => {
  bench = await openWorkerBench();
  twin = await bench.worker('twin', { codec: 'raw' });
});
after(() => bench.close());

const LENGTH = 1500;
const WHOLE_BLOCKS = 11;
const prompt = (salt: number): number[] =>
  Array.from({ length: LENGTH }, (_, index) => (index * 29 + salt * 101 + ((index * index) % 83)) % 900);
const request = (tokens: number[], options: Record<string, unknown> = {}) => ({
  input: { kind: 'tokens', tokens },
  sampling: { temperature: 0 },
  ignoreEos: true,
  maxTokens: 4,
  ...options,
});
const uncached = { cache: { read: false, write: false } };

/** Two workers; the leader's steps go through `through`. Their patience as given; the lease long, so that only that decides. */
async function pair(through: StepFilter, followSlackMs: number) {
  const changes = { codec: 'raw' as const, followSlackMs, leaseMs: 60_000 };
  const leader = await bench.worker(`leader-${++serial}`, changes, undefined, through);
  const follower = await bench.worker(`follower-${serial}`, changes);
  return { leader, follower };
}

async function until(probe: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 60_000;
  while (!(await probe())) {
    assert.ok(Date.now() < end, 'not within a minute');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const leads = (worker: RunningWorker) => until(() => worker.worker.stats().kv.leasesAcquired === 1);
const follows = (worker: RunningWorker) => until(() => worker.worker.stats().kv.leasesHeldByOthers === 1);
const idle = (worker: RunningWorker) => until(() => worker.worker.stats().requests === 0);
const gaveUp = ({ logs }: RunningWorker): string[] =>
  logs.map((line) => JSON.parse(line)).flatMap((line) => (line.event === 'follow_given_up' ? [line.reason] : []));

test('a leader that stalls with its lease renewed is waited for as long as predicted, then computed without', async () => {
  let steps = 0;
  const stuck = Promise.withResolvers<void>();
  const { leader, follower } = await pair(async (step) => {
    if (++steps > 1) await stuck.promise;
    return step();
  }, 200);
  const tokens = prompt(1);
  const led = leader.generate(request(tokens));
  await leads(leader);
  const answer = await follower.generate(request(tokens));
  assert.deepEqual(answer.ids, (await twin.generate(request(tokens, uncached))).ids);
  assert.deepEqual(gaveUp(follower), ['stalled']);
  assert.ok(steps <= 2, 'the leader still stalls');
  stuck.resolve();
  assert.deepEqual((await led).ids, answer.ids);
  follower.worker.parts.scheduler.checkIntegrity();
});

test('a leader that turns out much slower than this worker is left behind', async () => {
  const { leader, follower } = await pair(async (step) => {
    await new Promise((resolve) => setTimeout(resolve, 4000));
    return step();
  }, 500);
  // Both know their speed; the leader's promise is broken by its steps from now on.
  await follower.generate(request(prompt(2).reverse(), uncached));
  const tokens = prompt(2);
  const led = leader.generate(request(tokens));
  await leads(leader);
  let ledFirst = false;
  void led.then(() => {
    ledFirst = true;
  });
  const answer = await follower.generate(request(tokens));
  assert.equal(ledFirst, false);
  assert.equal(gaveUp(follower).length, 1);
  assert.deepEqual(answer.ids, (await led).ids);
});

test('when the leader’s client leaves, the follower takes over at once and keeps what was stored', async () => {
  let steps = 0;
  const stuck = Promise.withResolvers<void>();
  const { leader, follower } = await pair(async (step) => {
    if (++steps > 2) await stuck.promise;
    return step();
  }, 60_000);
  const tokens = prompt(3);
  const gone = new AbortController();
  const body = { requestId: randomUUID(), organizationId: bench.organizationId, model: MODEL_ID, ...request(tokens) };
  const led = leader.post('/generate', body, gone.signal).then((response) => response.text());
  led.catch(() => {});
  await leads(leader);
  const answering = follower.generate(request(tokens));
  await follows(follower);
  await until(() => steps > 2);
  gone.abort();
  stuck.resolve();
  const answer = await answering;
  assert.deepEqual(answer.ids, (await twin.generate(request(tokens, uncached))).ids);
  assert.equal(follower.worker.stats().kv.leasesAcquired, 1);
  assert.deepEqual(gaveUp(follower), []);
  await idle(leader);
});

test('a follower whose client leaves stops waiting, and neither the leader nor the next follower notices', async () => {
  let steps = 0;
  const stuck = Promise.withResolvers<void>();
  const { leader, follower } = await pair(async (step) => {
    if (++steps > 1) await stuck.promise;
    return step();
  }, 60_000);
  const tokens = prompt(4);
  const led = leader.generate(request(tokens));
  await leads(leader);
  const gone = new AbortController();
  const body = { requestId: randomUUID(), organizationId: bench.organizationId, model: MODEL_ID, ...request(tokens) };
  const left = follower.post('/generate', body, gone.signal).then(readAnswer);
  left.catch(() => {});
  await follows(follower);
  gone.abort();
  await idle(follower);
  follower.worker.parts.scheduler.checkIntegrity();
  assert.equal(follower.worker.parts.scheduler.running.length + follower.worker.parts.scheduler.waiting.length, 0);
  const next = follower.generate(request(tokens));
  await until(() => follower.worker.stats().kv.leasesHeldByOthers === 2);
  stuck.resolve();
  const [answer, first] = await Promise.all([next, led]);
  assert.deepEqual(answer.ids, first.ids);
  assert.equal(answer.done!.cache.blocksHit, WHOLE_BLOCKS);
  assert.ok(answer.events.some((event) => event.type === 'progress'));
});
