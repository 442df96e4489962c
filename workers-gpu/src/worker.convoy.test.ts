import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openWorkerBench, type RunningWorker, type WorkerBench } from './testing/worker-bench.ts';

/** Many requests at once that share a prefix, on real engines: the same answers as alone, for the work of one. */
let bench: WorkerBench;
before(async () => {
  bench = await openWorkerBench();
});
after(() => bench.close());

const tokensOf = (salt: number, length: number): number[] =>
  Array.from({ length }, (_, index) => (index * 31 + salt * 97 + ((index * index) % 89)) % 900);

const request = (tokens: number[], options: Record<string, unknown> = {}) => ({
  input: { kind: 'tokens', tokens },
  sampling: { temperature: 0 },
  ignoreEos: true,
  maxTokens: 4,
  ...options,
});

async function metric(worker: RunningWorker, name: string): Promise<number> {
  const line = (await worker.worker.metrics.render()).split('\n').find((one) => one.startsWith(`${name} `));
  assert.ok(line !== undefined, `there is no metric ${name}`);
  return Number(line.split(' ').at(-1));
}
const computedBlocks = (worker: RunningWorker) => metric(worker, 'longshore_worker_computed_blocks_total');
const prefillTokens = (worker: RunningWorker) => metric(worker, 'longshore_worker_step_tokens_total{phase="prefill"}');

test('twelve identical prompts on one worker compute the prompt once and draw what one alone draws', async () => {
  const alone = await bench.worker('alone');
  const convoy = await bench.worker('convoy');
  const tokens = tokensOf(1, 700);
  const expected = await alone.generate(request(tokens, { cache: { read: false, write: false } }));
  const answers = await Promise.all(Array.from({ length: 12 }, () => convoy.generate(request(tokens))));
  for (const answer of answers) assert.deepEqual(answer.ids, expected.ids);
  assert.equal(await computedBlocks(convoy), 5);
  assert.equal(await prefillTokens(convoy), 700);
  convoy.worker.parts.scheduler.checkIntegrity();
  const followers = answers.filter((answer) => answer.done!.usage.cachedTokens === 699);
  assert.equal(followers.length, 11);
  for (const { events } of followers) assert.ok(events.some((event) => event.type === 'progress'));
});

test('prompts that part inside a block compute only what differs, bit for bit', async () => {
  const alone = await bench.worker('alone-2');
  const convoy = await bench.worker('convoy-2');
  const shared = tokensOf(2, 600);
  const prompts = Array.from({ length: 10 }, (_, index) => [...shared, ...tokensOf(100 + index, 12 + index)]);
  const options = { sampling: { temperature: 0, logprobs: true } };
  const answers = await Promise.all(prompts.map((tokens) => convoy.generate(request(tokens, options))));
  assert.equal(await computedBlocks(convoy), 4);
  const most = 600 + prompts.reduce((sum, tokens) => sum + tokens.length - 600, 0);
  // A chunk that ends one token short leaves a step of one token, which counts as decoding.
  const counted = await prefillTokens(convoy);
  assert.ok(counted <= most && counted > most - prompts.length, `${counted} of ${most}`);
  for (const [index, tokens] of prompts.entries()) {
    const expected = await alone.generate(request(tokens, { ...options, cache: { read: false, write: false } }));
    const logprobs = (events: typeof expected.events) =>
      events.flatMap((event) => (event.type === 'token' ? [event.logprob?.logprob] : []));
    assert.deepEqual(answers[index]!.ids, expected.ids);
    assert.deepEqual(logprobs(answers[index]!.events), logprobs(expected.events));
  }
  convoy.worker.parts.scheduler.checkIntegrity();
});

test('over two workers each shared block is computed once: the other worker restores what the first one stores', async () => {
  // Counts, not times: on a loaded machine a leader is late without being stuck.
  const patient = { codec: 'raw' as const, leaseMs: 60_000, followSlackMs: 60_000 };
  const workers = [await bench.worker('left', patient), await bench.worker('right', patient)];
  const shared = tokensOf(3, 1300);
  const prompts = Array.from({ length: 12 }, (_, index) => [...shared, ...tokensOf(200 + index, 9)]);
  const answers = await Promise.all(
    prompts.map((tokens, index) => workers[index % 2]!.generate(request(tokens, { maxTokens: 2 }))),
  );
  const [left, right] = await Promise.all(workers.map(computedBlocks));
  const logs = workers.flatMap((worker) => worker.logs.filter((line) => /follow|fault/.test(line)));
  assert.equal(left! + right!, 10, `${left} + ${right} blocks; ${logs.join('')}`);
  const stats = workers.map(({ worker }) => worker.stats().kv);
  assert.equal(stats[0]!.restoredBlocks + stats[1]!.restoredBlocks, 10);
  for (const { events, done } of answers) {
    assert.ok(events.some((event) => event.type === 'progress'));
    assert.ok(done!.usage.completionTokens === 2);
  }
  for (const { worker } of workers) worker.parts.scheduler.checkIntegrity();
  const alone = await bench.worker('alone-3');
  const expected = await alone.generate(request(prompts[5]!, { maxTokens: 2, cache: { read: false, write: false } }));
  assert.deepEqual(answers[5]!.ids, expected.ids);
});
