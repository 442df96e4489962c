import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SlowProxy } from '../../harness/slow-proxy.ts';
import { type Answer, WorkerProcess } from './worker-process.ts';

const BLOCK_TOKENS = 128;
/** What a request asks behind the stored prefix. */
const QUESTION_TOKENS = 16;
/** Pure restores that must take longer than so many cold prefills are not measured: they cannot be the better way. */
const HOPELESS = 3;

export interface RestoreCase {
  /** Stored tokens, whole blocks. */
  n: number;
  tier: 'disk' | 's3';
  /** 0: as fast as it goes. */
  throttleMbps: number;
  latencyMs: number;
}

export interface RestoreBenchOptions {
  environment: Record<string, string>;
  organizationId: string;
  proxy: SlowProxy;
  /** One block of one layer stack in the pool. */
  blockBytes: number;
  repeats: number;
}

export interface RestoreResult {
  bench: 'restore';
  n: number;
  tier: 'disk' | 's3';
  throttle_mbps: number | null;
  latency_ms: number;
  cold_ttft_ms: number;
  restore_ttft_ms: number;
  /** Loading everything and computing nothing beside it; null where it cannot be the better way. */
  pure_restore_ttft_ms: number | null;
  speedup: number;
  /** restore_ttft_ms / the lesser of cold and pure restore. */
  regret: number;
  /** The very first restore of the fresh process, before it has learned anything. */
  first_ttft_ms: number;
  restored_tokens: number;
  bytes: number;
  decision: string;
  worker: { load_ms: number; load_ms_estimate: number | null; compute_ms_estimate: number | null; suffix_ms: number };
  runs: { cold: number[]; restore: number[]; pure: number[] };
}

/** Tokens that no other document begins with. */
export function document(n: number, serial: number): number[] {
  let state = (n * 7919 + serial * 104_729 + 1) >>> 0;
  return Array.from({ length: n }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return 100 + ((state >>> 8) % 40_000);
  });
}

/**
 * Measures one case on two fresh worker processes: one that decides by itself, one that always restores. Their pools hold exactly one
 * prompt, so that every request finds the device without the blocks of the other document, and all of its own are read again.
 */
export async function measure(one: RestoreCase, options: RestoreBenchOptions): Promise<RestoreResult> {
  const { proxy, repeats, organizationId } = options;
  Object.assign(proxy.link, { bytesPerSecond: one.throttleMbps * 1_000_000, latencyMs: one.latencyMs });
  const folder = await mkdtemp(join(tmpdir(), 'longshore-bench-'));
  const start = (policy: string) =>
    WorkerProcess.start(
      {
        ...options.environment,
        LONGSHORE_RESTORE: policy,
        LONGSHORE_KV_BYTES: String((one.n / BLOCK_TOKENS + 1) * options.blockBytes),
        LONGSHORE_HOST_TIER_BYTES: '0',
        LONGSHORE_DISK_TIER_FOLDER: one.tier === 'disk' ? join(folder, policy) : '',
      },
      organizationId,
    );
  const workers: WorkerProcess[] = [];
  try {
    workers.push(await start('compete'));
    workers.push(await start('always'));
    const [competing, always] = workers as [WorkerProcess, WorkerProcess];
    let serial = 0;
    const restore = (worker: WorkerProcess) => {
      const question = document(QUESTION_TOKENS, 1000 + serial);
      return worker.ask([...document(one.n, serial++ % 2), ...question], { read: true, write: false });
    };
    const cold = () => competing.ask(document(one.n + QUESTION_TOKENS, 500 + serial++), { read: false, write: false });
    const runs = { cold: [] as Answer[], restore: [] as Answer[], pure: [] as Answer[] };
    const first = await restore(competing);
    // The other document: on the disk tier, both are there afterwards. Which one is next depends on the count alone.
    await restore(competing);
    runs.cold.push(await cold());
    serial = 0;
    for (let run = 0; run < repeats; run++) runs.restore.push(await restore(competing));
    for (let run = 1; run < repeats; run++) runs.cold.push(await cold());
    const coldMs = median(runs.cold);
    const bytes = Math.max(...runs.restore.map(({ done }) => done.cache.bytes), first.done.cache.bytes);
    const wholeBytes = one.throttleMbps > 0 ? (one.n / BLOCK_TOKENS) * options.blockBytes * 0.45 : 0;
    const bound = one.throttleMbps > 0 ? Math.max(bytes, wholeBytes) / (one.throttleMbps * 1000) : 0;
    if (bound <= HOPELESS * coldMs) {
      serial = 0;
      for (let run = 0; run < 2; run++) await restore(always);
      for (let run = 0; run < repeats; run++) runs.pure.push(await restore(always));
    }
    const pureMs = runs.pure.length > 0 ? median(runs.pure) : null;
    const restoreMs = median(runs.restore);
    const typical = runs.restore.find(({ ttftMs }) => ttftMs === restoreMs)!.done;
    return {
      bench: 'restore',
      n: one.n,
      tier: one.tier,
      throttle_mbps: one.throttleMbps || null,
      latency_ms: one.latencyMs,
      cold_ttft_ms: round(coldMs),
      restore_ttft_ms: round(restoreMs),
      pure_restore_ttft_ms: pureMs === null ? null : round(pureMs),
      speedup: round(coldMs / restoreMs),
      regret: round(restoreMs / Math.min(coldMs, pureMs ?? Number.POSITIVE_INFINITY)),
      first_ttft_ms: round(first.ttftMs),
      restored_tokens: typical.usage.cachedTokens,
      bytes: typical.cache.bytes,
      decision: typical.cache.decision,
      worker: {
        load_ms: round(typical.cache.loadMs),
        load_ms_estimate: roundOrNull(typical.cache.loadMsEstimate),
        compute_ms_estimate: roundOrNull(typical.cache.computeMsEstimate),
        suffix_ms: round(typical.timings.prefillMs),
      },
      runs: {
        cold: runs.cold.map(({ ttftMs }) => round(ttftMs)),
        restore: runs.restore.map(({ ttftMs }) => round(ttftMs)),
        pure: runs.pure.map(({ ttftMs }) => round(ttftMs)),
      },
    };
  } finally {
    for (const worker of workers) await worker.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

function median(answers: readonly Answer[]): number {
  const sorted = answers.map(({ ttftMs }) => ttftMs).sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)]!;
}

const round = (value: number): number => Math.round(value * 100) / 100;
const roundOrNull = (value: number | undefined): number | null => (value === undefined ? null : round(value));
