import { BLOCK_TOKENS, type CacheReport, type MissReason, type Tier } from '@longshore/core';

export interface CacheFacts {
  promptTokens: number;
  /** Leading complete blocks that a cache could have given this prompt. */
  reusableBlocks: number;
  residentBlocks: number;
  restoredBlocks: number;
  /** Prompt tokens whose KV was reused, a session's tail included. */
  cachedTokens: number;
  /** Most tokens that could have been reused. */
  reusableTokens: number;
  /** A session's tail came from the store. */
  tailRestored: boolean;
  /** The farthest that served; undefined: nothing was restored. */
  storeTier: Tier | undefined;
  bytes: number;
  loadMs: number;
  /** To compute the cached tokens instead. */
  recomputeMsEstimate: number;
  /** When something was stored: what loading all of it, and computing it, was expected to take; milliseconds. */
  estimates?: { loadMs: number; recomputeMs: number } | undefined;
  /** Until all that was stored was on the device, whichever way. */
  prefixMs?: number | undefined;
  missReason: MissReason | undefined;
}

/** What the done event says about the cache. A hit that is not complete always names its reason and first divergent token. */
export function cacheReport(facts: CacheFacts): CacheReport {
  const restored = facts.restoredBlocks > 0 || facts.tailRestored;
  const complete = facts.cachedTokens >= facts.reusableTokens && facts.reusableTokens > 0;
  const blocksHit = facts.residentBlocks + facts.restoredBlocks;
  const report: CacheReport = {
    tier: facts.cachedTokens === 0 ? 'none' : ((restored ? facts.storeTier : undefined) ?? 'device'),
    blocksHit,
    blocksTotal: Math.floor(facts.promptTokens / BLOCK_TOKENS),
    bytes: facts.bytes,
    loadMs: facts.loadMs,
    recomputeMsEstimate: facts.recomputeMsEstimate,
    savedMs: facts.cachedTokens === 0 ? 0 : facts.recomputeMsEstimate - facts.loadMs,
    decision: decisionOf(facts, restored, complete),
    ...competition(facts),
  };
  if (complete) return report;
  const reason = facts.missReason ?? (facts.reusableBlocks === 0 ? 'below_one_block' : 'never_seen');
  return { ...report, missReason: reason, firstDivergentToken: facts.cachedTokens };
}

function decisionOf(facts: CacheFacts, restored: boolean, complete: boolean): CacheReport['decision'] {
  if (facts.cachedTokens === 0) return 'compute';
  if (!restored) return 'reuse';
  return complete ? 'restore' : 'restore_and_compute';
}

/** Shortest time that a regret is counted over: below it the clock and the event loop speak. */
const MIN_BEST_MS = 1;

function competition({ estimates, prefixMs }: CacheFacts): Partial<CacheReport> {
  if (estimates === undefined) return {};
  const { loadMs, recomputeMs } = estimates;
  const best = Math.max(MIN_BEST_MS, Math.min(loadMs, recomputeMs));
  return {
    loadMsEstimate: loadMs,
    computeMsEstimate: recomputeMs,
    ...(prefixMs === undefined ? {} : { regretEstimate: prefixMs / best }),
  };
}
