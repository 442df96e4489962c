import type { MissReason } from '@longshore/core';
import { type ComputeCost, RestoreRace } from '../domain/restore-race.ts';
import type { LoadedTier, TierSpeeds } from '../domain/tier-speeds.ts';
import type { RestoreTarget } from '../engine/job.ts';
import { farthestTier, type StoreTier } from '../kv/index.ts';
import { missReasonOf } from './prefix-planner.ts';
import type { RestoreRead } from './prefix-restorer.ts';

export interface RunningRestoreOptions {
  /** Those worth making, front first. */
  reads: readonly RestoreRead[];
  /** First token that is not resident, and where the last read ends. */
  from: number;
  endToken: number;
  /** Compute beside the reads where that is worth it. */
  compete: boolean;
  transfer: TierSpeeds;
  compute: ComputeCost;
  maxBatchTokens: number;
  target: RestoreTarget;
  signal: AbortSignal;
  now: () => number;
}

/** What a restore brought, for the response's cache report. */
export interface RestoreReport {
  /** Complete blocks. */
  readonly blocks: number;
  readonly tailLoaded: boolean;
  readonly bytes: number;
  readonly ms: number;
  readonly missReason: MissReason | undefined;
  readonly tier: StoreTier | undefined;
}

/** The reads of one restore, all asked for at once, last one first; the store bounds how many run. */
export class RunningRestore implements RestoreReport {
  /** Nothing more will come. Never rejects. */
  readonly ended: Promise<void>;
  /** Complete blocks brought. */
  blocks = 0;
  tailLoaded = false;
  /** From the start until the last read ended. */
  ms = 0;
  missReason: MissReason | undefined;
  /** The farthest that served; undefined: none did. */
  tier: StoreTier | undefined;
  private readonly options: RunningRestoreOptions;
  private readonly race: RestoreRace;
  private readonly giveUps: AbortController[];
  private readonly bytesFrom = new Map<LoadedTier, number>();
  private readonly startedAt: number;

  constructor(options: RunningRestoreOptions) {
    this.options = options;
    this.startedAt = options.now();
    this.race = new RestoreRace(options.reads, options.endToken, options.transfer, options.compute, this.startedAt);
    this.giveUps = options.reads.map(() => new AbortController());
    const backFirst = [...options.reads.entries()].reverse();
    this.ended = Promise.all(backFirst.map(([index, read]) => this.read(index, read))).then(() => this.finish());
  }

  get bytes(): number {
    return this.options.reads.reduce((sum, _, index) => sum + this.race.arrivedOf(index), 0);
  }

  /** Tokens worth computing now; also gives up the reads of what is computed already. */
  tokensWorthComputing(computed: number): number {
    const { compete, maxBatchTokens, now } = this.options;
    this.giveUps.forEach((giveUp, index) => {
      if (this.race.needless(index, computed)) giveUp.abort();
    });
    return compete ? this.race.tokensWorthComputing(computed, maxBatchTokens, now()) : 0;
  }

  private async read(index: number, read: RestoreRead): Promise<void> {
    const { target, signal, now } = this.options;
    let claimed: number | undefined;
    const outcome = await read.run({
      claim: (first, end) => {
        claimed = target.claim(first, end);
        return claimed;
      },
      onBytes: (bytes) => this.race.arrived(index, bytes, now()),
      signal: AbortSignal.any([signal, this.giveUps[index]!.signal]),
    });
    this.race.settle(index);
    const served = outcome.ok ? outcome.value.tier : read.tier;
    this.bytesFrom.set(served, (this.bytesFrom.get(served) ?? 0) + this.race.arrivedOf(index));
    if (outcome.ok && outcome.value.blocks > 0) this.tier = farthestTier(this.tier, outcome.value.tier);
    if (outcome.ok && read.isTail) this.tailLoaded = outcome.value.blocks > 0;
    else if (outcome.ok) this.blocks += outcome.value.blocks;
    else if (outcome.fault.kind !== 'cancelled') this.missReason ??= missReasonOf(outcome.fault);
    if (claimed !== undefined) target.loaded(claimed, read.endBlock, outcome.ok);
  }

  private finish(): void {
    const { now, transfer } = this.options;
    this.ms = now() - this.startedAt;
    transfer.observe(this.bytesFrom, this.ms, this.race.firstMs);
  }
}
