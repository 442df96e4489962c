import type { TestPlatform } from '../harness/platform.ts';

interface Load {
  running: number;
  waiting: number;
}

/** Requests on all workers, by their own GET /stats. */
export async function requestsRunning(platform: TestPlatform): Promise<number> {
  const stats = await Promise.all(platform.workers.map(({ id }) => platform.workerStats(id)));
  return stats.reduce((sum, { load }) => sum + (load as Load).running + (load as Load).waiting, 0);
}

/** Milliseconds until no worker has a request; rejects when it takes longer than `withinMs`. */
export async function untilIdle(platform: TestPlatform, withinMs: number): Promise<number> {
  const started = performance.now();
  while ((await requestsRunning(platform)) > 0) {
    if (performance.now() - started > withinMs) throw new Error(`workers are not idle after ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return performance.now() - started;
}
