import {
  BLOCK_TOKENS,
  type CacheReport,
  type GenerateEvent,
  type LongshoreError,
  type MissReason,
  type Timings,
} from '@longshore/core';
import type { SamplingParams, StepOutput } from '@longshore/native';
import { cacheReport } from '../domain/cache-report.ts';
import type { PrefillSpeed } from '../domain/prefill-speed.ts';
import type { Admission } from '../domain/scheduler.ts';
import type { Sequence } from '../domain/sequence.ts';
import type { Job, RestoreTarget } from '../engine/job.ts';
import type { PrefixFollower } from './prefix-follower.ts';
import type { PrefixPlan } from './prefix-planner.ts';
import type { PrefixRestorer } from './prefix-restorer.ts';
import type { PublishTrack } from './publish-track.ts';
import type { RestoreReport, RunningRestore } from './running-restore.ts';

export interface SequenceRunOptions {
  sequence: Sequence;
  /** Tokens of the prompt proper; a continuation's tokens come after them. */
  promptTokens: number;
  plan: PrefixPlan;
  restorer: PrefixRestorer;
  follower: PrefixFollower;
  track: PublishTrack;
  speed: PrefillSpeed;
  /** Most prompt tokens that a cache could have given. */
  reusableTokens: number;
  missReason?: MissReason;
  sampling?: SamplingParams;
  history?: () => Uint32Array;
  now: () => number;
  /** When the request arrived, on `now`'s clock. */
  arrivedAt: number;
  emit: (event: GenerateEvent) => void;
  /** The worker that it follows was seen. */
  onLeader?: () => void;
  /** The prompt's blocks are complete and on their way to the store. */
  onPrefilled?: () => void;
  /** True ends the sequence. */
  onToken?: (output: StepOutput) => boolean;
  /** While the sequence still holds its blocks. */
  onFinished?: () => void;
}

/** One sequence's way through the engine loop as a promise, with its progress events, its publishing and its measures. */
export class SequenceRun implements Job {
  readonly sequence: Sequence;
  readonly sampling: SamplingParams | undefined;
  readonly history: (() => Uint32Array) | undefined;
  /** Resolves when the sequence ended, rejects with LongshoreError. */
  readonly ended: Promise<void>;
  private readonly options: SequenceRunOptions;
  private readonly settle: { resolve: () => void; reject: (error: LongshoreError) => void };
  private first: Admission | undefined;
  /** Prompt tokens that the client was told of, while following. */
  private reached = 0;
  /** The first restore; a preempted sequence may make more. */
  private restored: RestoreReport | undefined;
  private running: RunningRestore | undefined;
  private restoreMiss: MissReason | undefined;
  private cachedTokens = 0;
  private admittedAt: number | undefined;
  private prefillFrom: number | undefined;
  private prefixReadyAt: number | undefined;
  private prefilledAt: number | undefined;
  private firstTokenAt: number | undefined;

  constructor(options: SequenceRunOptions) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    promise.catch(() => {});
    this.ended = promise;
    this.settle = { resolve, reject };
    this.options = options;
    this.sequence = options.sequence;
    this.sampling = options.sampling;
    this.history = options.history;
  }

  async restore(admission: Admission, target: RestoreTarget, signal: AbortSignal): Promise<void> {
    const { restorer, plan, emit } = this.options;
    const total = admission.restoreEnd * BLOCK_TOKENS;
    let blocks = admission.residentBlocks;
    const loaded: RestoreTarget['loaded'] = (first, end, intact) => {
      target.loaded(first, end, intact);
      if (intact) blocks += end - first;
      if (plan.follows) return this.onFollowing(blocks * BLOCK_TOKENS);
      emit({ type: 'progress', phase: 'restore', done: Math.min(blocks * BLOCK_TOKENS, total), total });
    };
    if (plan.follows) return this.follow(admission, { ...target, loaded }, signal);
    const restore = await restorer.start(plan, admission, { ...target, loaded }, signal);
    if (typeof restore === 'string') {
      this.restoreMiss ??= restore;
      return;
    }
    this.running = restore;
    this.restored ??= restore;
    await restore.ended;
    this.running = undefined;
  }

  private async follow(admission: Admission, target: RestoreTarget, signal: AbortSignal): Promise<void> {
    const { follower, plan, track, onLeader } = this.options;
    const report = await follower.follow(plan, admission, target, signal, (blocks) => {
      this.onFollowing(blocks * BLOCK_TOKENS);
      onLeader?.();
    });
    this.restored ??= report;
    track.skipTo(admission.residentBlocks + report.blocks);
  }

  computeBesideRestore(): number {
    return this.running?.tokensWorthComputing(this.sequence.computed) ?? 0;
  }

  get progress(): number {
    return Math.max(this.reached, this.sequence.computed);
  }

  /** Its client sees the leader's progress as its own, as far as their prompts may be the same. */
  onFollowing(tokens: number): void {
    const { promptTokens, plan, emit } = this.options;
    const done = Math.min(tokens, plan.reusableBlocks * BLOCK_TOKENS);
    if (done <= this.reached) return;
    this.reached = done;
    emit({ type: 'progress', phase: 'prefill', done, total: promptTokens });
  }

  onAdmitted(admission: Admission): void {
    this.admittedAt ??= this.options.now();
    this.options.track.skipTo(admission.residentBlocks);
    this.first ??= admission;
  }

  onProgress(computed: number): void {
    const { promptTokens, emit, now } = this.options;
    this.prefillFrom ??= now();
    if (this.prefilledAt !== undefined) return;
    if (computed >= this.options.plan.publishedBlocks * BLOCK_TOKENS) this.prefixReadyAt ??= now();
    this.cachedTokens = Math.min(this.sequence.cached, promptTokens);
    emit({ type: 'progress', phase: 'prefill', done: Math.min(computed, promptTokens), total: promptTokens });
    if (computed < this.sequence.initialTokens) return;
    this.prefilledAt = now();
    this.options.track.advance(this.sequence, this.sequence.registered, true);
    this.options.onPrefilled?.();
  }

  onBlocks(_start: number, end: number): void {
    this.options.track.advance(this.sequence, end, false);
  }

  onToken(output: StepOutput): boolean {
    this.firstTokenAt ??= this.options.now();
    return this.options.onToken?.(output) ?? true;
  }

  onFinished(): void {
    this.options.track.advance(this.sequence, this.sequence.registered, true);
    this.options.onFinished?.();
    this.settle.resolve();
  }

  onFailed(error: LongshoreError): void {
    this.settle.reject(error);
  }

  get usedCachedTokens(): number {
    return this.cachedTokens;
  }

  timings(): Timings {
    const { arrivedAt, now } = this.options;
    const end = now();
    const admittedAt = this.admittedAt ?? end;
    const prefillFrom = this.prefillFrom ?? end;
    const prefilledAt = this.prefilledAt ?? end;
    const firstTokenAt = this.firstTokenAt ?? prefilledAt;
    return {
      queueMs: admittedAt - arrivedAt,
      restoreMs: this.restored?.ms ?? 0,
      prefillMs: prefilledAt - prefillFrom,
      decodeMs: end - firstTokenAt,
      ttftMs: firstTokenAt - arrivedAt,
      totalMs: end - arrivedAt,
    };
  }

  cache(): CacheReport {
    const { plan, promptTokens, speed, reusableTokens, missReason } = this.options;
    const { restored } = this;
    const raced = restored !== undefined && this.cachedTokens < plan.publishedBlocks * BLOCK_TOKENS;
    return cacheReport({
      promptTokens,
      reusableBlocks: plan.reusableBlocks,
      residentBlocks: Math.min(this.first?.residentBlocks ?? 0, plan.reusableBlocks),
      restoredBlocks: restored?.blocks ?? 0,
      cachedTokens: this.cachedTokens,
      reusableTokens,
      tailRestored: restored?.tailLoaded ?? false,
      storeTier: restored?.tier,
      bytes: restored?.bytes ?? 0,
      loadMs: restored?.ms ?? 0,
      recomputeMsEstimate: speed.estimateMs(0, this.cachedTokens),
      estimates: plan.estimates,
      prefixMs: this.prefixMs(),
      missReason:
        this.restoreMiss ??
        restored?.missReason ??
        missReason ??
        plan.missReason ??
        (raced ? 'load_slower_than_recompute' : undefined),
    });
  }

  /** From the admission until everything that was stored was on the device, computed or loaded. */
  private prefixMs(): number | undefined {
    if (this.prefixReadyAt === undefined || this.admittedAt === undefined) return undefined;
    return this.prefixReadyAt - this.admittedAt;
  }
}
