import type { HeadReport } from './head-measures.ts';

/** Shares of a head's dense time at which candidates are compared. */
export const COSTS = [0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9] as const;

export interface Limits {
  /** Most |output - dense output| / |dense output| of a head. */
  error: number;
  /** Least mean share of the attention mass that a head reads. */
  recall: number;
}

/** The candidate with the smallest output error, then most mass, of those whose measured time is at most `cost` of dense; undefined: none. */
export function bestAtCost(reports: readonly HeadReport[], dense: number, cost: number): number | undefined {
  let best: number | undefined;
  for (const [index, report] of reports.entries()) {
    if (index === dense || report.ns > cost * reports[dense]!.ns) continue;
    const other = best === undefined ? undefined : reports[best]!;
    if (
      other === undefined ||
      report.error < other.error ||
      (report.error === other.error && report.recall > other.recall)
    )
      best = index;
  }
  return best;
}

/**
 * For one head: at rising cost, the first whose best candidate stays within the limits; dense where none does. `reports`: by candidate.
 */
export function chooseForHead(reports: readonly HeadReport[], dense: number, limits: Limits): number {
  for (const cost of COSTS) {
    const best = bestAtCost(reports, dense, cost);
    if (best === undefined) continue;
    const report = reports[best]!;
    if (report.error <= limits.error && report.recall >= limits.recall) return best;
  }
  return dense;
}
