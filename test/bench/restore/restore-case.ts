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
/** From this share of a cold prefill on, computing is the better way or close to it: it is measured as often as restoring. */
const NEAR = 0.5;
const ENOUGH_COLD = 3;

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
  /** Time for the rounds of one case, cold prefills that only tell the speedup apart, and the least number of rounds. */
  roundsMs: number;
  leastRounds: number;
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
  /** Of a pure restore: verifying all checksums and opening all seals, and decoding into the pool; the first one's share of its TTFT. */
  seal_ms: number | null;
  import_ms: number | null;
  seal_share: number | null;
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

/** Rounds of one case: as many as fit its time, since the shorter a restore is, the more of its time is chance. */
const MOST_ROUNDS = 41;

/**
 * Measures one case on two fresh worker processes: one that decides by itself, one that always restores. Their pools hold exactly one
 * prompt, so that every request finds the device without the blocks of the other document, and all of its own are read again. What is
 * compared takes turns, so that a machine that changes its pace changes it for all.
 */
export async function measure(one: RestoreCase, options: RestoreBenchOptions): Promise<RestoreResult> {
  const { proxy, organizationId } = options;
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
    return await compare(one, options, workers[0]!, workers[1]!);
  } finally {
    for (const worker of workers) await worker.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function compare(
  one: RestoreCase,
  { blockBytes, roundsMs, leastRounds }: RestoreBenchOptions,
  competing: WorkerProcess,
  always: WorkerProcess,
): Promise<RestoreResult> {
  let serial = 0;
  // On the disk tier both documents are there after the first two. Which one is next depends on the count alone.
  const asked = new Map([competing, always].map((worker) => [worker, 0]));
  const restore = (worker: WorkerProcess) => {
    const turn = asked.get(worker)!;
    asked.set(worker, turn + 1);
    const question = document(QUESTION_TOKENS, 1000 + serial++);
    return worker.ask([...document(one.n, turn % 2), ...question], { read: true, write: false });
  };
  const cold = () => competing.ask(document(one.n + QUESTION_TOKENS, 5000 + serial++), { read: false, write: false });
  const runs = { cold: [] as Answer[], restore: [] as Answer[], pure: [] as Answer[] };
  const first = await restore(competing);
  await restore(competing);
  runs.cold.push(await cold());
  const coldMs = runs.cold[0]!.ttftMs;
  const wholeBytes = Math.max(first.done.cache.bytes, (one.n / BLOCK_TOKENS) * blockBytes * 0.45);
  const hopeless = one.throttleMbps > 0 && wholeBytes / (one.throttleMbps * 1000) > HOPELESS * coldMs;
  if (!hopeless) for (let warm = 0; warm < 2; warm++) await restore(always);
  const before = await always.storeStats();
  let spentMs = 0;
  const spent = (answer: Answer) => {
    spentMs += answer.ttftMs;
    return answer;
  };
  for (let round = 0; round < leastRounds || (round < MOST_ROUNDS && spentMs < roundsMs); round++) {
    runs.restore.push(spent(await restore(competing)));
    if (!hopeless) runs.pure.push(spent(await restore(always)));
    // Where computing is not what restoring competes with, it tells the speedup only.
    if (median(runs.restore) > NEAR * coldMs) runs.cold.push(spent(await cold()));
    else if (runs.cold.length < ENOUGH_COLD) runs.cold.push(await cold());
  }
  const { sealMs, importMs } = await always.storeStats();
  const rounds = runs.pure.length;
  const engine = { seal: (sealMs - before.sealMs) / rounds, import: (importMs - before.importMs) / rounds };
  return resultOf(one, first, runs, engine);
}

function resultOf(
  one: RestoreCase,
  first: Answer,
  runs: { cold: Answer[]; restore: Answer[]; pure: Answer[] },
  engine: { seal: number; import: number },
): RestoreResult {
  const coldMs = median(runs.cold);
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
    seal_ms: pureMs === null ? null : round(engine.seal),
    import_ms: pureMs === null ? null : round(engine.import),
    seal_share: pureMs === null ? null : Math.round((1000 * engine.seal) / pureMs) / 1000,
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
      cold: runs.cold.map(({ ttftMs }) => Math.round(ttftMs)),
      restore: runs.restore.map(({ ttftMs }) => Math.round(ttftMs)),
      pure: runs.pure.map(({ ttftMs }) => Math.round(ttftMs)),
    },
  };
}

function median(answers: readonly Answer[]): number {
  const sorted = answers.map(({ ttftMs }) => ttftMs).sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)]!;
}

const round = (value: number): number => Math.round(value * 100) / 100;
const roundOrNull = (value: number | undefined): number | null => (value === undefined ? null : round(value));
