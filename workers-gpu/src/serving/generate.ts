import { type GenerateEvent, type GenerateRequest, LongshoreError, type Sampling, toHex } from '@longshore/core';
import type { SamplingParams } from '@longshore/native';
import { type Finish, Generation } from '../domain/generation.ts';
import { withAnswer } from '../domain/transcript.ts';
import type { TenantKeys } from '../kv/index.ts';
import { checkContext } from './context-limit.ts';
import type { BuiltPrompt } from './prompt-builder.ts';
import type { HeldKv } from './session-keeper.ts';
import type { SessionState } from './session-state.ts';
import type { SessionTurns } from './session-turns.ts';
import { startRun } from './start-run.ts';
import { tokenEvent } from './token-events.ts';
import type { WorkerParts } from './worker-parts.ts';

export type Emit = (event: GenerateEvent) => void;

interface OpenedPrompt {
  prompt: BuiltPrompt;
  tenant: TenantKeys | undefined;
  /** The organization has no key: nothing it stored can be found, and nothing is stored. */
  isKeyless: boolean;
  session: SessionState | undefined;
}

/** POST /generate. Rejects with LongshoreError; nothing was emitted yet when the request itself was at fault. */
export async function generate(
  parts: WorkerParts,
  turns: SessionTurns,
  request: GenerateRequest,
  signal: AbortSignal,
  emit: Emit,
): Promise<void> {
  const { session } = request;
  if (session === undefined) return answer(parts, turns, request, signal, emit);
  return turns.exclusively(session, () => answer(parts, turns, request, signal, emit));
}

async function answer(
  parts: WorkerParts,
  turns: SessionTurns,
  request: GenerateRequest,
  signal: AbortSignal,
  emit: Emit,
): Promise<void> {
  const arrivedAt = parts.now();
  const { prompt, tenant, isKeyless, session } = await openPrompt(parts, turns, request);
  const promptTokens = prompt.tokens.length;
  checkContext(promptTokens, parts.contextLimit, 1);
  const generation = new Generation({
    stops: request.stop,
    eosIds: new Set(parts.info.eosIds),
    ignoreEos: request.ignoreEos,
    maxTokens: Math.min(request.maxTokens ?? Number.POSITIVE_INFINITY, parts.contextLimit - promptTokens),
    bytesOf: parts.text.tokenizer.bytesOf,
  });
  const given = request.continuation?.tokens ?? [];
  checkContext(promptTokens + given.length, parts.contextLimit, 0);
  let finish: Finish | undefined = generation.prime(given);
  const answerTokens = given.slice(0, generation.tokenCount);
  const seed = request.sampling.seed ?? parts.randomSeed();
  emit({ type: 'accepted', requestId: request.requestId, workerId: parts.workerId, promptTokens, seed });

  let held: HeldKv | undefined;
  const keeps = session !== undefined && request.cache.write;
  const started = await startRun(parts, {
    requestId: request.requestId,
    organizationId: request.organizationId,
    tenant,
    ...(isKeyless ? { missReason: 'tenant_scope' } : {}),
    tokens: [...prompt.tokens, ...answerTokens],
    promptTokens,
    cache: request.cache,
    sample: finish === undefined,
    sampling: samplingOf(request.sampling, seed),
    history: historyOf(request.sampling, prompt.tokens, answerTokens),
    ...sessionHints(parts, session, prompt),
    ttlSeconds: session?.ttlSeconds,
    arrivedAt,
    signal,
    emit,
    onToken: (output) => {
      const token = output.token!;
      const accepted = generation.accept(token);
      if (accepted.append) {
        answerTokens.push(token);
        started.run.sequence.append(token);
      }
      const event = tokenEvent(accepted, output, parts.text.tokenizer, request.sampling.logprobs);
      if (event !== undefined) emit(event);
      finish = accepted.finish;
      return finish !== undefined;
    },
    onFinished: () => {
      if (!keeps) return;
      const { sequence } = started.run;
      const end = Math.min(sequence.computed, promptTokens + generation.kept().tokens);
      held = turns.keeper.hold(sequence, end);
    },
  });
  await started.run.ended;

  const ending = finish ?? { reason: 'stop' as const };
  const timings = started.run.timings();
  const cache = await started.cache();
  const usage = {
    promptTokens,
    completionTokens: generation.tokenCount,
    cachedTokens: started.run.usedCachedTokens,
  };
  if (session !== undefined && tenant !== undefined) {
    const kept = generation.kept();
    await turns.commit(session, tenant, held === undefined ? undefined : { kv: held, track: started.track }, {
      requestId: request.requestId,
      tokens: [...prompt.tokens, ...answerTokens.slice(0, kept.tokens)],
      transcript: withAnswer(prompt.rendered, generation.text, kept.text),
      sharedTokens: prompt.sharedTokens,
      ...usage,
      finishReason: ending.reason,
      tier: cache.tier,
      ttftMs: timings.ttftMs,
    });
  }
  emit({
    type: 'done',
    finishReason: ending.reason,
    ...(ending.stopSequence === undefined ? {} : { stopSequence: ending.stopSequence }),
    usage,
    timings,
    cache,
    workerId: parts.workerId,
  });
}

async function openPrompt(parts: WorkerParts, turns: SessionTurns, request: GenerateRequest): Promise<OpenedPrompt> {
  if (request.session === undefined) {
    const [prompt, tenant] = await Promise.all([
      parts.prompts.build(request.input, true),
      parts.kv.tenant(request.organizationId),
    ]);
    const isKeyless = !tenant.ok && tenant.fault.kind === 'missing';
    return { prompt, tenant: tenant.ok ? tenant.value : undefined, isKeyless, session: undefined };
  }
  const { tenant, state } = await turns.load(request.organizationId, request.session, 'ready');
  if (request.sessionVersion !== undefined && request.sessionVersion !== state.version) {
    throw new LongshoreError(
      'conflict',
      'A turn of this session was recorded meanwhile; look at the session before sending this one again.',
    );
  }
  const prompt = await parts.prompts.append(state.tokens, state.transcript, request.input);
  if (prompt.tokens.length === 0) throw new LongshoreError('invalid_request', 'The turn is empty.', { param: 'input' });
  return { prompt, tenant, isKeyless: false, session: state };
}

/** What the session says was kept of the tokens that this prompt still shares with it. */
function sessionHints(parts: WorkerParts, session: SessionState | undefined, prompt: BuiltPrompt) {
  if (session === undefined) return {};
  if (session.namespace !== toHex(parts.kv.namespace))
    return { missReason: 'identity_changed' as const, formerNamespace: session.namespace };
  const whole = session.keptTokens <= prompt.sharedTokens;
  return {
    keptTokens: Math.min(session.keptTokens, prompt.sharedTokens, prompt.tokens.length - 1),
    ...(whole ? { tail: { endToken: session.keptTokens, objectKey: session.tailObjectKey } } : {}),
  };
}

function samplingOf(sampling: Sampling, seed: number): SamplingParams {
  const { logitBias, ...rest } = sampling;
  return { ...rest, seed, logitBias: logitBias.map(([token, bias]) => [token, bias]) };
}

/**
 * Presence and frequency penalties count the answer; the repetition penalty, where it is on, counts the prompt too (as its
 * authors defined it), and then so do the others.
 */
function historyOf(
  sampling: Sampling,
  prompt: readonly number[],
  answer: readonly number[],
): (() => Uint32Array) | undefined {
  if (sampling.repetitionPenalty !== 1) return () => Uint32Array.from([...prompt, ...answer]);
  if (sampling.presencePenalty === 0 && sampling.frequencyPenalty === 0) return undefined;
  return () => Uint32Array.from(answer);
}
