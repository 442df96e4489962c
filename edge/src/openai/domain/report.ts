import type { CacheReport, GenerateEvent, Usage } from '@longshore/core';

export type TokenEvent = Extract<GenerateEvent, { type: 'token' }>;
export type DoneEvent = Extract<GenerateEvent, { type: 'done' }>;

/** Where the KV came from: bytes, milliseconds, blocks of 128 tokens. */
function cacheFields(cache: CacheReport) {
  return {
    tier: cache.tier,
    decision: cache.decision,
    blocks_hit: cache.blocksHit,
    blocks_total: cache.blocksTotal,
    bytes: cache.bytes,
    load_ms: cache.loadMs,
    recompute_ms_estimate: cache.recomputeMsEstimate,
    saved_ms: cache.savedMs,
    load_ms_estimate: cache.loadMsEstimate ?? null,
    compute_ms_estimate: cache.computeMsEstimate ?? null,
    regret_estimate: cache.regretEstimate ?? null,
  };
}

/** `usage.longshore`, the same in every dialect. `miss` is null when everything that could be reused was. */
function cacheUsage(cache: CacheReport) {
  const { missReason, firstDivergentToken, divergenceIsExact } = cache;
  const miss =
    missReason === undefined
      ? null
      : { reason: missReason, first_divergent_token: firstDivergentToken ?? 0, exact: divergenceIsExact ?? true };
  return { ...cacheFields(cache), miss };
}

/** `cache`: the request's report; absent when no worker got as far as one. */
export function openaiUsage({ promptTokens, completionTokens, cachedTokens }: Usage, cache: CacheReport | undefined) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
    ...(cache === undefined ? {} : { longshore: cacheUsage(cache) }),
  };
}

/** The `longshore` block: where the prompt's KV came from and where the time went. Milliseconds, bytes, blocks of 128 tokens. */
export function longshoreReport(requestId: string, losses: number, done: DoneEvent) {
  const { cache, timings, workerId, stopSequence } = done;
  return {
    request_id: requestId,
    worker_id: workerId,
    workers_lost: losses,
    stop_sequence: stopSequence ?? null,
    cache: {
      ...cacheFields(cache),
      miss_reason: cache.missReason ?? null,
      first_divergent_token: cache.firstDivergentToken ?? null,
    },
    timings: {
      queue_ms: timings.queueMs,
      restore_ms: timings.restoreMs,
      prefill_ms: timings.prefillMs,
      decode_ms: timings.decodeMs,
      ttft_ms: timings.ttftMs,
      total_ms: timings.totalMs,
    },
  };
}
