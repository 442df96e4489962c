import type { Tier } from '@longshore/core';
import { TransferSpeed } from './transfer-speed.ts';

export type LoadedTier = Exclude<Tier, 'device' | 'none'>;

/** Until the first measurements, all of them optimistic, so that a new worker tries: bytes/ms, ms. */
const PRIORS: Record<LoadedTier, [bytesPerMs: number, latencyMs: number]> = {
  host: [1_000_000, 1],
  disk: [800_000, 2],
  s3: [400_000, 10],
};
/** A load from several tiers says something of the one that served this share of it, and of no other. */
const DECISIVE = 0.9;

/** What loading costs from each tier. */
export class TierSpeeds {
  private readonly speeds: ReadonlyMap<LoadedTier, TransferSpeed>;

  constructor() {
    const tiers = Object.keys(PRIORS) as LoadedTier[];
    this.speeds = new Map(tiers.map((tier) => [tier, new TransferSpeed(...PRIORS[tier])]));
  }

  of(tier: LoadedTier): TransferSpeed {
    return this.speeds.get(tier)!;
  }

  /** One load that brought so many bytes from each tier in `ms` together; `firstMs`: until the first of them, undefined: none came. */
  observe(bytesFrom: ReadonlyMap<LoadedTier, number>, ms: number, firstMs: number | undefined): void {
    const total = [...bytesFrom.values()].reduce((sum, bytes) => sum + bytes, 0);
    for (const [tier, bytes] of bytesFrom) {
      if (firstMs === undefined && bytesFrom.size === 1) this.of(tier).observeSilence(ms);
      if (firstMs !== undefined && bytes >= DECISIVE * total) this.of(tier).observe(total, ms, firstMs);
    }
  }
}
