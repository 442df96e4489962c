import type { GenerateEvent, Usage } from '@longshore/core';

export type TokenEvent = Extract<GenerateEvent, { type: 'token' }>;
export type DoneEvent = Extract<GenerateEvent, { type: 'done' }>;

export function openaiUsage({ promptTokens, completionTokens, cachedTokens }: Usage) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
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
