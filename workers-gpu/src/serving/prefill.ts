import { type CacheReport, LongshoreError, type PrefillRequest, type Timings, type Usage } from '@longshore/core';
import type { RenderedPrompt } from '../domain/transcript.ts';
import type { TurnMark } from '../domain/turn-marks.ts';
import type { TenantKeys } from '../kv/index.ts';
import { checkContext } from './context-limit.ts';
import type { Emit } from './generate.ts';
import type { HeldKv } from './session-keeper.ts';
import type { SessionState } from './session-state.ts';
import type { SessionTurns } from './session-turns.ts';
import { startRun } from './start-run.ts';
import type { WorkerParts } from './worker-parts.ts';

/** Ends of this worker, or of this attempt, after which the edge sends the same prefill to another one. */
const ELSEWHERE: ReadonlySet<string> = new Set(['worker_failed', 'draining', 'overloaded', 'conflict']);

/** POST /prefill: computes a session's prompt once and keeps it. A failure is written into the session before it is thrown. */
export async function prefill(
  parts: WorkerParts,
  turns: SessionTurns,
  request: PrefillRequest,
  signal: AbortSignal,
  emit: Emit,
): Promise<void> {
  try {
    await turns.exclusively(request.session, () => keep(parts, turns, request, signal, emit));
  } catch (error) {
    const known = error instanceof LongshoreError ? error : undefined;
    if (known === undefined || !ELSEWHERE.has(known.code)) {
      const reason = known?.message ?? 'Internal error.';
      await parts.sessions.fail(request.organizationId, request.session, reason).catch((cause: unknown) => {
        parts.log.warn('session_failure_not_recorded', { session: request.session, cause });
      });
    }
    throw error;
  }
}

async function keep(
  parts: WorkerParts,
  turns: SessionTurns,
  request: PrefillRequest,
  signal: AbortSignal,
  emit: Emit,
): Promise<void> {
  const arrivedAt = parts.now();
  const { tenant, state } = await turns.load(request.organizationId, request.session, 'creating');
  const prompt = await parts.prompts.build(request.input, false);
  const promptTokens = prompt.tokens.length;
  checkContext(promptTokens, parts.contextLimit, 1);
  emit({ type: 'accepted', requestId: request.requestId, workerId: parts.workerId, promptTokens, seed: 0 });
  const { requestId, cache } = request;
  const ended = await prefillTokens(parts, turns, {
    requestId,
    cache,
    tenant,
    state,
    prompt,
    finishReason: 'prefill',
    arrivedAt,
    signal,
    emit,
  });
  emit({ type: 'done', finishReason: 'stop', ...ended, workerId: parts.workerId });
}

export interface TokensToPrefill {
  requestId: string;
  cache: { read: boolean; write: boolean };
  tenant: TenantKeys;
  state: SessionState;
  /** `marks`: where the turns ended that the tokens already hold; absent: they are one prefill. */
  prompt: { tokens: number[]; rendered: RenderedPrompt; marks?: TurnMark[] };
  finishReason: 'prefill' | 'import';
  arrivedAt: number;
  signal: AbortSignal;
  emit: Emit;
}

/** Computes what no cache gives of these tokens, stores it, and commits the session as ready. */
export async function prefillTokens(
  parts: WorkerParts,
  turns: SessionTurns,
  { requestId, cache: use, tenant, state, prompt, finishReason, arrivedAt, signal, emit }: TokensToPrefill,
): Promise<{ usage: Usage; timings: Timings; cache: CacheReport }> {
  const promptTokens = prompt.tokens.length;
  let held: HeldKv | undefined;
  const started = await startRun(parts, {
    requestId,
    organizationId: tenant.organizationId,
    tenant,
    tokens: prompt.tokens,
    promptTokens,
    cache: use,
    sample: false,
    ttlSeconds: state.ttlSeconds,
    arrivedAt,
    signal,
    emit,
    onFinished: () => {
      if (use.write) held = turns.keeper.hold(started.run.sequence, promptTokens);
    },
  });
  await started.run.ended;
  const timings = started.run.timings();
  const cache = await started.cache();
  const usage = { promptTokens, completionTokens: 0, cachedTokens: started.run.usedCachedTokens };
  await turns.commit(state, tenant, held === undefined ? undefined : { kv: held, track: started.track }, {
    requestId,
    tokens: prompt.tokens,
    transcript: prompt.rendered,
    ...(prompt.marks === undefined ? {} : { marks: prompt.marks }),
    sharedTokens: 0,
    ...usage,
    finishReason,
    tier: cache.tier,
    ttftMs: timings.ttftMs,
  });
  return { usage, timings, cache };
}
