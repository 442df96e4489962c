import { LongshoreError } from '@longshore/core';
import { type Engine, EngineError, type StepItem, type StepOutput } from '@longshore/native';
import type { PrefillSpeed } from '../domain/prefill-speed.ts';
import type { Admission, Scheduler } from '../domain/scheduler.ts';
import type { Sequence } from '../domain/sequence.ts';
import type { StepEntry } from '../domain/step-plan.ts';
import { type CopyEngine, copyForks } from './copy-forks.ts';
import type { Job, RestoreTarget } from './job.ts';
import { Signal } from './signal.ts';

/** Decoding requests wait at most about this long for a step that also prefills. */
const MIXED_STEP_MS = 150;
const MIXED_GRANULE = 32;
/** How often an idle loop asks again whether computing beside a restore has become worth it. */
const RACE_TICK_MS = 10;

export interface EngineLoopOptions {
  engine: Pick<Engine, 'step'> & CopyEngine;
  scheduler: Scheduler;
  speed: PrefillSpeed;
  /** Monotonic milliseconds. */
  now: () => number;
  /** `blocks`: complete ones that the step finished. */
  onStep?: (step: { ms: number; prefillTokens: number; decodeTokens: number; blocks: number }) => void;
  onPreempted?: (count: number) => void;
  /** The engine is broken; every job has failed. Called at most once. */
  onFault: (error: unknown) => void;
}

interface Entry {
  job: Job;
  cancelled: LongshoreError | undefined;
  restoring: AbortController | undefined;
}

/**
 * The one place that steps the engine: admits, restores, plans, steps, hands out what came of it. Between steps everything is
 * synchronous, so the scheduler needs no locks. Idle, it waits for a signal and uses no time.
 */
export class EngineLoop {
  private readonly options: EngineLoopOptions;
  private readonly scheduler: Scheduler;
  private readonly entries = new Map<Sequence, Entry>();
  private readonly signal = new Signal();
  private readonly cancelFlag = new Int32Array(new SharedArrayBuffer(4));
  private inStep: ReadonlySet<Sequence> = new Set();
  private stopped = false;
  private faulted = false;
  private finished: Promise<void> | undefined;

  constructor(options: EngineLoopOptions) {
    this.options = options;
    this.scheduler = options.scheduler;
  }

  get jobCount(): number {
    return this.entries.size;
  }

  get healthy(): boolean {
    return !this.faulted;
  }

  start(): void {
    this.finished ??= this.run().catch((error: unknown) => this.fault(error));
  }

  /** Throws LongshoreError overloaded when the waiting queue is full, worker_failed when the engine is gone. */
  submit(job: Job, retryAfterSeconds: number): void {
    if (this.faulted || this.stopped) throw new LongshoreError('worker_failed', 'This worker can no longer compute.');
    this.scheduler.submit(job.sequence, retryAfterSeconds);
    this.entries.set(job.sequence, { job, cancelled: undefined, restoring: undefined });
    this.wake();
  }

  /** Ends a job soon: a running step that holds it is aborted and the others' part is submitted again. */
  cancel(sequence: Sequence, reason: LongshoreError): void {
    const entry = this.entries.get(sequence);
    if (entry === undefined || entry.cancelled !== undefined) return;
    entry.cancelled = reason;
    entry.restoring?.abort();
    if (this.inStep.has(sequence)) Atomics.store(this.cancelFlag, 0, 1);
    this.wake();
  }

  /** Something outside the loop changed what can run: blocks were given back. */
  wake(): void {
    this.signal.notify();
  }

  /** Ends the loop after the running step; jobs that are left fail with worker_failed. */
  async stop(): Promise<void> {
    this.stopped = true;
    Atomics.store(this.cancelFlag, 0, 1);
    this.wake();
    await this.finished;
    this.failAll(new LongshoreError('worker_failed', 'The worker stopped before the answer was complete.'));
  }

  private async run(): Promise<void> {
    while (!this.stopped && !this.faulted) {
      this.dropCancelled();
      const admissions = this.scheduler.admit(this.options.now());
      for (const admission of admissions) this.beginAdmitted(admission);
      await this.fork(admissions);
      this.tellFollowers();
      const racing = this.allowRaces();
      const { entries, preempted } = this.scheduler.plan(this.mixedPrefillTokens());
      if (preempted.length > 0) this.options.onPreempted?.(preempted.length);
      if (entries.length > 0) await this.step(entries);
      else if (preempted.length === 0) await this.signal.wait(racing ? RACE_TICK_MS : this.idleTimeout());
    }
  }

  /** Sequences that load may compute too, as far as their jobs find it worth it. True when there are any. */
  private allowRaces(): boolean {
    let racing = false;
    for (const [{ load }, { job }] of this.entries) {
      if (load === undefined || load.ended) continue;
      load.allowance = job.computeBesideRestore?.() ?? 0;
      racing = true;
    }
    return racing;
  }

  /** Followers of another sequence's blocks wait until a deadline; everything else sends a signal. */
  private idleTimeout(): number | undefined {
    const now = this.options.now();
    const deadline = this.scheduler.nextFollowDeadline(now);
    return deadline === undefined ? undefined : Math.max(1, deadline - now);
  }

  private mixedPrefillTokens(): number {
    const tokens = (this.options.speed.tokensPerSecond * MIXED_STEP_MS) / 1000;
    const granules = Math.max(1, Math.floor(tokens / MIXED_GRANULE));
    return Math.min(this.scheduler.limits.maxBatchTokens, granules * MIXED_GRANULE);
  }

  private dropCancelled(): void {
    for (const [sequence, entry] of [...this.entries]) {
      if (entry.cancelled !== undefined && entry.restoring === undefined) this.fail(sequence, entry.cancelled);
    }
  }

  private beginAdmitted(admission: Admission): void {
    const { sequence } = admission;
    const entry = this.entries.get(sequence)!;
    entry.job.onAdmitted(admission);
    if (admission.fork !== undefined) return;
    if (sequence.phase === 'restoring') void this.restore(entry, admission);
    else this.noteCached(entry.job);
  }

  /** Between steps, so that no step writes what is read here. */
  private async fork(admissions: readonly Admission[]): Promise<void> {
    const forks = admissions.flatMap(({ sequence, fork }) => (fork === undefined ? [] : [{ sequence, fork }]));
    if (forks.length === 0) return;
    const copied = await copyForks(
      this.options.engine,
      forks.map(({ fork }) => fork),
    );
    forks.forEach(({ sequence, fork }, index) => {
      this.scheduler.forked(sequence, fork, copied[index]!);
      const entry = this.entries.get(sequence);
      if (entry !== undefined) this.noteCached(entry.job);
    });
  }

  /** Whoever waits for another sequence's blocks hears how far that one is. */
  private tellFollowers(): void {
    for (const { follower, leader } of this.scheduler.followings(this.options.now())) {
      const leading = this.entries.get(leader)?.job;
      if (leading !== undefined) this.entries.get(follower)?.job.onFollowing(leading.progress);
    }
  }

  private async restore(entry: Entry, admission: Admission): Promise<void> {
    const { sequence } = admission;
    const { job } = entry;
    const restoring = new AbortController();
    entry.restoring = restoring;
    // Not after the load was given up: the sequence may have been preempted since, and be loading anew.
    const wanted = () => entry.restoring === restoring && entry.cancelled === undefined && !restoring.signal.aborted;
    const target: RestoreTarget = {
      claim: (first, end) => (wanted() ? this.scheduler.claim(sequence, first, end) : undefined),
      loaded: (first, end, intact) => {
        const completed = this.scheduler.loaded(sequence, first, end, intact);
        if (completed !== undefined) job.onBlocks(completed.start, completed.end);
        this.wake();
      },
    };
    await job.restore(admission, target, restoring.signal);
    if (wanted()) {
      this.scheduler.endLoad(sequence);
      this.noteCached(job);
    }
    if (entry.restoring === restoring) entry.restoring = undefined;
    this.wake();
  }

  private noteCached(job: Job): void {
    job.onProgress(job.sequence.computed, 0);
    this.completeIfDone(job);
  }

  private completeIfDone(job: Job): void {
    if (!job.sequence.sample && job.sequence.remaining === 0) this.finish(job);
  }

  /** The sequence has computed everything that it was loading: what is still on its way is not wanted. */
  private stopNeedless(sequence: Sequence): void {
    if (sequence.phase === 'running') this.entries.get(sequence)?.restoring?.abort();
  }

  private async step(entries: readonly StepEntry[]): Promise<void> {
    const started = this.options.now();
    Atomics.store(this.cancelFlag, 0, 0);
    this.inStep = new Set(entries.map((entry) => entry.sequence));
    let outputs: StepOutput[];
    try {
      outputs = await this.options.engine.step(
        entries.map((entry) => this.itemOf(entry)),
        this.cancelFlag,
      );
    } catch (error) {
      this.stepFailed(entries, error);
      return;
    } finally {
      this.inStep = new Set();
    }
    const finished = this.scheduler.commit(entries);
    const blocks = finished.reduce((sum, { start, end }) => sum + end - start, 0);
    this.observe(entries, this.options.now() - started, blocks);
    const completed = new Map(finished.map((one) => [one.sequence, one]));
    entries.forEach((entry, index) => {
      const { job } = this.entries.get(entry.sequence)!;
      const blocks = completed.get(entry.sequence);
      if (blocks !== undefined) job.onBlocks(blocks.start, blocks.end);
      job.onProgress(entry.sequence.computed, entry.count);
      this.stopNeedless(entry.sequence);
      if (!entry.sample) this.completeIfDone(job);
      else if (job.onToken(outputs[index]!)) this.finish(job);
    });
  }

  private itemOf(entry: StepEntry): StepItem {
    const { sequence, start, count, sample } = entry;
    const { job } = this.entries.get(sequence)!;
    return {
      tokens: Uint32Array.from(sequence.tokens.slice(start, start + count)),
      position: start,
      blockTable: Uint32Array.from(sequence.blocks),
      sample,
      ...(sample ? { sampling: job.sampling, history: job.history?.() } : {}),
    };
  }

  private observe(entries: readonly StepEntry[], ms: number, blocks: number): void {
    const prefills = entries.filter((entry) => entry.count > 1);
    const prefillTokens = prefills.reduce((sum, entry) => sum + entry.count, 0);
    // A step that shares the machine with a load says nothing about the next one.
    const alone = prefills.length === 1 && entries.length === 1 && prefills[0]!.sequence.load === undefined;
    if (alone) {
      this.options.speed.observe(prefills[0]!.start, prefills[0]!.count, ms);
    }
    this.options.onStep?.({ ms, prefillTokens, decodeTokens: entries.length - prefills.length, blocks });
  }

  private stepFailed(entries: readonly StepEntry[], error: unknown): void {
    if (error instanceof EngineError && error.code === 'cancelled') return;
    if (error instanceof EngineError && error.code === 'invalid_argument') {
      const failure = new LongshoreError('internal', `The engine refused the step: ${error.message}`, { cause: error });
      for (const entry of entries) this.fail(entry.sequence, failure);
      return;
    }
    this.fault(error);
  }

  private fault(error: unknown): void {
    this.faulted = true;
    this.failAll(
      new LongshoreError('worker_failed', 'The engine failed; the worker restarts. Retry the request.', {
        cause: error,
      }),
    );
    this.options.onFault(error);
  }

  private finish(job: Job): void {
    job.onFinished();
    this.scheduler.finish(job.sequence);
    this.entries.delete(job.sequence);
  }

  private fail(sequence: Sequence, error: LongshoreError): void {
    const entry = this.entries.get(sequence);
    if (entry === undefined) return;
    this.scheduler.finish(sequence);
    this.entries.delete(sequence);
    entry.job.onFailed(error);
  }

  private failAll(error: LongshoreError): void {
    for (const sequence of [...this.entries.keys()]) this.fail(sequence, error);
  }
}
