import type { TestPlatform } from '../../harness/platform.ts';

/** Totals over all workers since their start, from their own GET /metrics and GET /stats. */
export interface Counters {
  /** Complete blocks whose KV an engine step computed. */
  computedBlocks: number;
  prefillTokens: number;
  /** Blocks read from the store. */
  restoredBlocks: number;
}

export async function readCounters(platform: TestPlatform): Promise<Counters> {
  const total: Counters = { computedBlocks: 0, prefillTokens: 0, restoredBlocks: 0 };
  for (const worker of platform.workers) {
    const response = await fetch(`${worker.url}/metrics`, {
      headers: { authorization: `Bearer ${platform.poolToken}` },
    });
    const text = await response.text();
    total.computedBlocks += sample(text, 'longshore_worker_computed_blocks_total');
    total.prefillTokens += sample(text, 'longshore_worker_step_tokens_total{phase="prefill"}');
    const { kv } = (await platform.workerStats(worker.id)) as { kv: { restoredBlocks: number } };
    total.restoredBlocks += kv.restoredBlocks;
  }
  return total;
}

export function difference(after: Counters, before: Counters): Counters {
  return {
    computedBlocks: after.computedBlocks - before.computedBlocks,
    prefillTokens: after.prefillTokens - before.prefillTokens,
    restoredBlocks: after.restoredBlocks - before.restoredBlocks,
  };
}

/** Throws when the worker has no such metric: a renamed counter must not read as zero. */
function sample(metrics: string, name: string): number {
  const line = metrics.split('\n').find((one) => one.startsWith(`${name} `));
  if (line === undefined) throw new Error(`the worker has no metric ${name}`);
  return Number(line.slice(name.length + 1));
}

interface Publishing {
  kv: { publishQueueBlocks: number; publishesRunning: number };
  load: { running: number; waiting: number };
}

/** Resolves when no worker computes or publishes; rejects after `withinMs`. */
export async function untilQuiet(platform: TestPlatform, withinMs = 60_000): Promise<void> {
  const end = performance.now() + withinMs;
  for (;;) {
    const stats = await Promise.all(platform.workers.map(({ id }) => platform.workerStats(id) as Promise<unknown>));
    const busy = (stats as Publishing[]).some(
      ({ kv, load }) => kv.publishQueueBlocks + kv.publishesRunning + load.running + load.waiting > 0,
    );
    if (!busy) return;
    if (performance.now() > end) throw new Error(`the workers are not quiet after ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
