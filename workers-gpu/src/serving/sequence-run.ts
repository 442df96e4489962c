import {
  BLOCK_TOKENS,
  type CacheReport,
  type GenerateEvent,
  type LongshoreError,
  type MissReason,
  type Tier,
  type Timings,
} from '@longshore/core';
import type { SamplingParams, StepOutput } from '@longshore/native';
import { cacheReport } from '../domain/cache-report.ts';
import type { PrefillSpeed } from '../domain/prefill-speed.ts';
import type { Admission } from '../domain/scheduler.ts';
import type { Sequence } from '../domain/sequence.ts';
import type { Job, RestoreResult } from '../engine/job.ts';
import type { PrefixPlan } from './prefix-planner.ts';
import type { PrefixRestorer, RestoreReport } from './prefix-restorer.ts';
import type { PublishTrack } from './publish-track.ts';

export interface SequenceRunOptions {
  sequence: Sequence;
  /** Tokens of the prompt proper; a continuation's tokens come after them. */
  promptTokens: number;
  plan: PrefixPlan;
  restorer: PrefixRestorer;
  track: PublishTrack;
  speed: PrefillSpeed;
  storeTier: Tier;
  /** Most prompt tokens that a cache could have given. */
  reusableTokens: number;
  missReason?: MissReason;
  sampling?: SamplingParams;
  history?: () => Uint32Array;
  now: () => number;
  /** When the request arrived, on `now`'s clock. */
  arrivedAt: number;
  emit: (event: GenerateEvent) => void;
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
  private restored: RestoreReport | undefined;
  private cachedTokens = 0;
  private admittedAt: number | undefined;
  private prefillFrom: number | undefined;
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

  async restore(admission: Admission, signal: AbortSignal): Promise<RestoreResult> {
    const { restorer, plan, emit } = this.options;
    const total = admission.restoreEnd * BLOCK_TOKENS;
    const report = await restorer.restore(plan, admission, signal, (blocks) => {
      emit({ type: 'progress', phase: 'restore', done: (admission.residentBlocks + blocks) * BLOCK_TOKENS, total });
    });
    this.restored ??= report;
    return report;
  }

  onAdmitted(admission: Admission): void {
    this.admittedAt ??= this.options.now();
    this.first ??= admission;
  }

  onProgress(computed: number, fresh: number): void {
    const { promptTokens, emit, now } = this.options;
    if (this.prefillFrom === undefined && fresh === 0) {
      this.cachedTokens = Math.min(computed, promptTokens);
      this.prefillFrom = now();
    }
    if (this.prefilledAt !== undefined) return;
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
    const { plan, promptTokens, speed, storeTier, reusableTokens } = this.options;
    const resident = Math.min(this.first?.residentBlocks ?? 0, plan.reusableBlocks);
    const restoredBlocks = Math.max(0, (this.restored?.validBlocks ?? 0) - resident);
    return cacheReport({
      promptTokens,
      reusableBlocks: plan.reusableBlocks,
      residentBlocks: resident,
      restoredBlocks: this.restored === undefined ? 0 : restoredBlocks,
      cachedTokens: this.cachedTokens,
      reusableTokens,
      tailRestored: this.first?.tail === 'store' && (this.restored?.tailValid ?? false),
      storeTier,
      bytes: this.restored?.bytes ?? 0,
      loadMs: this.restored?.ms ?? 0,
      recomputeMsEstimate: speed.estimateMs(0, this.cachedTokens),
      missReason: this.restored?.missReason ?? this.options.missReason ?? plan.missReason,
    });
  }
}
