import type { CacheReport, Tier, Usage } from '@longshore/core';

/** One of a request's sequences, as far as it got. */
export interface SequenceUsage {
  /** Sequences of the same prompt share its tokens: they count once. */
  promptIndex: number;
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  tier: Tier;
  cache: CacheReport | undefined;
}

const TIERS: readonly Tier[] = ['none', 'device', 'host', 'disk', 's3'];

/** What the whole request used; of a prompt's sequences the first one with tokens speaks for the prompt. */
export function totalUsage(sequences: readonly SequenceUsage[]): Usage {
  const total: Usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };
  const counted = new Set<number>();
  for (const sequence of sequences) {
    total.completionTokens += sequence.completionTokens;
    if (counted.has(sequence.promptIndex) || sequence.promptTokens === 0) continue;
    counted.add(sequence.promptIndex);
    total.promptTokens += sequence.promptTokens;
    total.cachedTokens += sequence.cachedTokens;
  }
  return total;
}

/** The farthest tier that any sequence read. */
export function farthestTier(sequences: readonly SequenceUsage[]): Tier {
  return TIERS[Math.max(0, ...sequences.map(({ tier }) => TIERS.indexOf(tier)))]!;
}

/** The report that speaks for the request: the first one with a miss, else the first. */
export function speakingReport(sequences: readonly SequenceUsage[]): CacheReport | undefined {
  const reports = sequences.flatMap(({ cache }) => cache ?? []);
  return reports.find(({ missReason }) => missReason !== undefined) ?? reports[0];
}
