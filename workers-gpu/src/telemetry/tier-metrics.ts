import { Counter, Gauge, type Registry } from 'prom-client';
import type { TierStats } from '../kv/index.ts';

type Measure = Exclude<keyof TierStats, 'name'>;

const GAUGES: [Measure, string, string][] = [
  ['budgetBytes', 'budget_bytes', 'Most bytes the tier may hold'],
  ['bytes', 'bytes', 'Bytes held, being written and being deleted'],
  ['pinnedBytes', 'pinned_bytes', 'Bytes that may not be evicted'],
  ['objects', 'objects', 'Objects held'],
];

const COUNTERS: [Measure, string, string][] = [
  ['hits', 'hits_total', 'Reads that the tier served'],
  ['misses', 'misses_total', 'Reads of what the tier did not hold'],
  ['servedBytes', 'served_bytes_total', 'Bytes read from the tier'],
  ['fills', 'fills_total', 'Objects taken into the tier'],
  ['filledBytes', 'filled_bytes_total', 'Bytes taken into the tier'],
  ['evictions', 'evictions_total', 'Objects given up for space'],
  ['expirations', 'expirations_total', 'Objects given up for time'],
  ['refusals', 'refusals_total', 'Objects worth less than what they would have displaced'],
  ['fillFailures', 'fill_failures_total', 'Objects not kept because the medium failed or was busy'],
  ['badCopies', 'bad_copies_total', 'Torn, foreign or unreadable copies, deleted'],
];

/** longshore_worker_tier_*, labelled with the tier; read when Prometheus asks. */
export function registerTierMetrics(registry: Registry, read: () => readonly TierStats[]): void {
  const registers = [registry];
  const labelNames = ['tier'];
  for (const [measure, name, help] of GAUGES)
    new Gauge({
      name: `longshore_worker_tier_${name}`,
      help,
      labelNames,
      registers,
      collect() {
        for (const tier of read()) this.set({ tier: tier.name }, tier[measure]);
      },
    });
  for (const [measure, name, help] of COUNTERS)
    new Counter({
      name: `longshore_worker_tier_${name}`,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const tier of read()) this.inc({ tier: tier.name }, tier[measure]);
      },
    });
}
