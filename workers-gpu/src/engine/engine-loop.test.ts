import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LongshoreError } from '@longshore/core';
import { EngineError, type StepItem, type StepOutput } from '@longshore/native';
import { BlockManager } from '../domain/block-manager.ts';
import { PrefillSpeed } from '../domain/prefill-speed.ts';
import { PrefixChain } from '../domain/prefix-chain.ts';
import { type Admission, Scheduler } from '../domain/scheduler.ts';
import { Sequence, type SequenceOptions } from '../domain/sequence.ts';
import { EngineLoop } from './engine-loop.ts';
import type { Job, RestoreTarget } from './job.ts';

/**
 * A fake engine: it draws the number of steps so far, takes as long as it is told, and fails when told. It computes nothing,
 * keeps no KV and checks no block table; the real engine does that in worker.test.ts.
 */
class FakeEngine {
  readonly steps: StepItem[][] = [];
  aborted = 0;
  ms = 0;
  failWith: Error | undefined;

  async exportBlocks() {
    return { layers: [], rawBytes: 0 };
  }

  async importBlocks() {}

  async step(items: StepItem[], cancel?: Int32Array): Promise<StepOutput[]> {
    const until = performance.now() + this.ms;
    do {
      await new Promise((resolve) => setImmediate(resolve));
      if (cancel !== undefined && Atomics.load(cancel, 0) !== 0) {
        this.aborted++;
        throw new EngineError('cancelled', 'stopped');
      }
    } while (performance.now() < until);
    if (this.failWith !== undefined) throw this.failWith;
    this.steps.push(items);
    return items.map((item) => ({ token: item.sample ? this.steps.length : null, logprob: null, top: [] }));
  }
}

class TestJob implements Job {
  readonly sequence: Sequence;
  readonly ended: Promise<string>;
  readonly blocks: Array<[number, number]> = [];
  readonly followed: number[] = [];
  private readonly settle: (outcome: string) => void;
  private readonly length: number;
  restoreWith: (admission: Admission, target: RestoreTarget, signal: AbortSignal) => Promise<void> = async () => {};
  beside = 0;
  cached = 0;

  constructor(id: string, tokens: number, answer: number, options: Partial<SequenceOptions> = {}) {
    const { promise, resolve } = Promise.withResolvers<string>();
    this.ended = promise;
    this.settle = resolve;
    this.length = tokens + answer;
    this.sequence = new Sequence({
      id,
      organizationId: 'org',
      tokens: Array.from({ length: tokens }, (_, index) => index),
      chain: new PrefixChain(new Uint8Array(32).fill(id.charCodeAt(0))),
      sample: answer > 0,
      readCache: true,
      shareBlocks: true,
      ...options,
    });
  }

  restore(admission: Admission, target: RestoreTarget, signal: AbortSignal): Promise<void> {
    return this.restoreWith(admission, target, signal);
  }
  computeBesideRestore(): number {
    return this.beside;
  }
  get progress(): number {
    return this.sequence.computed;
  }
  onAdmitted(): void {}
  onFollowing(tokens: number): void {
    this.followed.push(tokens);
  }
  onProgress(): void {}
  onBlocks(start: number, end: number): void {
    this.blocks.push([start, end]);
  }
  onToken(output: StepOutput): boolean {
    this.cached = this.sequence.cached;
    this.sequence.append(output.token!);
    return this.sequence.tokens.length >= this.length;
  }
  onFinished(): void {
    this.settle('finished');
  }
  onFailed(error: LongshoreError): void {
    this.settle(error.code);
  }
}

function build(capacity = 64) {
  const engine = new FakeEngine();
  const blocks = new BlockManager(capacity);
  const scheduler = new Scheduler(blocks, { maxRunning: 8, maxWaiting: 8, maxBatchTokens: 512 });
  const faults: unknown[] = [];
  const loop = new EngineLoop({
    engine,
    scheduler,
    speed: new PrefillSpeed(1000),
    now: () => performance.now(),
    onFault: (error) => faults.push(error),
  });
  loop.start();
  return { engine, scheduler, loop, faults };
}

const GONE = new LongshoreError('cancelled', 'gone');

test('runs several jobs to their ends and gives every block back', async () => {
  const { scheduler, loop } = build();
  const jobs = [new TestJob('a', 700, 5), new TestJob('b', 10, 40), new TestJob('c', 300, 0)];
  for (const job of jobs) loop.submit(job, 1);
  assert.deepEqual(await Promise.all(jobs.map((job) => job.ended)), ['finished', 'finished', 'finished']);
  scheduler.checkIntegrity();
  assert.equal(scheduler.blocks.available, 64);
  assert.equal(jobs[0]!.blocks.at(-1)![1], 5);
  await loop.stop();
});

test('cancelling aborts the running step; the others go on as if nothing had happened', async () => {
  const { engine, scheduler, loop } = build();
  engine.ms = 100;
  const stopped = new TestJob('a', 400, 5);
  const other = new TestJob('b', 50, 3);
  loop.submit(stopped, 1);
  loop.submit(other, 1);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const started = performance.now();
  loop.cancel(stopped.sequence, GONE);
  assert.equal(await stopped.ended, 'cancelled');
  assert.ok(performance.now() - started < 50);
  assert.equal(await other.ended, 'finished');
  assert.equal(engine.aborted, 1);
  assert.equal(other.sequence.tokens.length, 53);
  scheduler.checkIntegrity();
  await loop.stop();
});

test('a waiting job can be cancelled, and cancelling twice or too late does nothing', async () => {
  const { loop } = build(4);
  const running = new TestJob('a', 400, 30);
  const waiting = new TestJob('b', 400, 30);
  loop.submit(running, 1);
  loop.submit(waiting, 1);
  loop.cancel(waiting.sequence, GONE);
  loop.cancel(waiting.sequence, GONE);
  assert.equal(await waiting.ended, 'cancelled');
  assert.equal(await running.ended, 'finished');
  loop.cancel(running.sequence, GONE);
  await loop.stop();
});

test('blocks of a cancelled job are not given back while its restore still writes them', async () => {
  const { scheduler, loop } = build();
  const job = new TestJob('a', 1000, 5, { storedBlocks: 5 });
  let aborted = false;
  const { promise, resolve } = Promise.withResolvers<void>();
  let late: RestoreTarget | undefined;
  job.restoreWith = (_, target, signal) => {
    late = target;
    signal.addEventListener('abort', () => {
      aborted = true;
    });
    return promise;
  };
  loop.submit(job, 1);
  await new Promise((done) => setTimeout(done, 10));
  loop.cancel(job.sequence, GONE);
  await new Promise((done) => setTimeout(done, 10));
  assert.ok(aborted);
  assert.ok(scheduler.blocks.available < 64);
  assert.equal(late!.claim(0, 5), undefined, 'nobody writes the blocks of a cancelled request');
  resolve();
  assert.equal(await job.ended, 'cancelled');
  assert.equal(scheduler.blocks.available, 64);
  await loop.stop();
});

test('others compute while one restores; what a failed restore lacks is computed', async () => {
  const { engine, loop } = build();
  const restoring = new TestJob('a', 1000, 1, { storedBlocks: 7 });
  const { promise, resolve } = Promise.withResolvers<void>();
  let target: RestoreTarget | undefined;
  restoring.restoreWith = (_, given) => {
    target = given;
    return promise;
  };
  const other = new TestJob('b', 100, 10);
  loop.submit(restoring, 1);
  loop.submit(other, 1);
  assert.equal(await other.ended, 'finished');
  assert.equal(target!.claim(0, 3), 0);
  target!.loaded(0, 3, true);
  resolve();
  assert.equal(await restoring.ended, 'finished');
  const computed = engine.steps.flat().filter((item) => item.blockTable.length === 8);
  assert.equal(computed[0]!.position, 384);
  await loop.stop();
});

test('a prompt is computed from the front while it loads from the back; the rest of the load is given up when they meet', async () => {
  const { engine, scheduler, loop } = build();
  engine.ms = 5;
  const job = new TestJob('a', 2000, 1, { storedBlocks: 15 });
  job.beside = 256;
  const claims: Array<number | undefined> = [];
  let given: AbortSignal | undefined;
  job.restoreWith = async (_, target, signal) => {
    given = signal;
    claims.push(target.claim(12, 15));
    target.loaded(12, 15, true);
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    claims.push(target.claim(8, 12));
  };
  loop.submit(job, 1);
  assert.equal(await job.ended, 'finished');
  assert.deepEqual(claims, [12, undefined]);
  assert.ok(given!.aborted);
  const tokens = engine.steps.flat().reduce((sum, item) => sum + item.tokens.length, 0);
  assert.equal(tokens, 2000 - 3 * 128, 'loaded blocks are not computed');
  assert.equal(job.cached, 3 * 128);
  scheduler.checkIntegrity();
  await loop.stop();
});

test('an engine fault fails every job, is reported once, and nothing is accepted afterwards', async () => {
  const { engine, loop, faults } = build();
  engine.failWith = new EngineError('internal', 'device lost');
  const jobs = [new TestJob('a', 100, 5), new TestJob('b', 100, 5)];
  for (const job of jobs) loop.submit(job, 1);
  assert.deepEqual(await Promise.all(jobs.map((job) => job.ended)), ['worker_failed', 'worker_failed']);
  assert.equal(faults.length, 1);
  assert.equal(loop.healthy, false);
  assert.throws(() => loop.submit(new TestJob('c', 10, 1), 1), /no longer compute/);
});

test('a step the engine refuses fails its own jobs only', async () => {
  const { engine, loop, faults } = build();
  engine.failWith = new EngineError('invalid_argument', 'token out of range');
  const refused = new TestJob('a', 100, 5);
  loop.submit(refused, 1);
  assert.equal(await refused.ended, 'internal');
  engine.failWith = undefined;
  const next = new TestJob('b', 100, 5);
  loop.submit(next, 1);
  assert.equal(await next.ended, 'finished');
  assert.equal(faults.length, 0);
  await loop.stop();
});

test('preempts when blocks run out and still finishes everyone', async () => {
  const { scheduler, loop } = build(8);
  const jobs = ['a', 'b', 'c'].map((id) => new TestJob(id, 250, 120));
  for (const job of jobs) loop.submit(job, 1);
  assert.deepEqual(await Promise.all(jobs.map((job) => job.ended)), ['finished', 'finished', 'finished']);
  assert.ok(jobs.some((job) => job.sequence.preemptions > 0));
  scheduler.checkIntegrity();
  await loop.stop();
});

test('uses no time while idle', async () => {
  const { loop } = build();
  await new Promise((resolve) => setTimeout(resolve, 50));
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, 500));
  const { user, system } = process.cpuUsage(before);
  assert.ok(user + system < 50_000, `${user + system} us of CPU in half a second`);
  await loop.stop();
});
