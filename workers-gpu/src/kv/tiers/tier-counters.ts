import type { TierIndex } from '../domain/tier-index.ts';
import type { TierStats } from '../ports.ts';

/** What a tier counts by itself; its index knows the rest. */
export type TierCounters = Omit<TierStats, 'name' | 'budgetBytes' | 'bytes' | 'pinnedBytes' | 'objects'>;

export function tierCounters(): TierCounters {
  return {
    hits: 0,
    misses: 0,
    servedBytes: 0,
    fills: 0,
    filledBytes: 0,
    evictions: 0,
    expirations: 0,
    refusals: 0,
    fillFailures: 0,
    badCopies: 0,
  };
}

export function tierStats(
  tier: { name: TierStats['name']; budgetBytes: number },
  index: TierIndex,
  counters: TierCounters,
): TierStats {
  const { name, budgetBytes } = tier;
  return { name, budgetBytes, bytes: index.bytes, pinnedBytes: index.pinnedBytes, objects: index.count, ...counters };
}
