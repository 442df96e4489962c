import { BLOCK_TOKENS, type CacheReport, type GenerateEvent, LongshoreError, type MissReason } from '@longshore/core';
import type { SamplingParams, StepOutput } from '@longshore/native';
import { Sequence } from '../domain/sequence.ts';
import type { TenantKeys } from '../kv/index.ts';
import { explainMiss, withExplanation } from './miss-diagnosis.ts';
import { PublishTrack } from './publish-track.ts';
import { SequenceRun } from './sequence-run.ts';
import type { WorkerParts } from './worker-parts.ts';

export interface RunRequest {
  requestId: string;
  organizationId: string;
  tenant: TenantKeys | undefined;
  /** Prompt, and tokens generated elsewhere. */
  tokens: number[];
  promptTokens: number;
  cache: { read: boolean; write: boolean };
  sample: boolean;
  sampling?: SamplingParams;
  history?: () => Uint32Array;
  tail?: { endToken: number; objectKey: string | null };
  /** A session's ttl. */
  ttlSeconds?: number;
  /** Tokens that a session says are kept; absent: every whole block could have been cached. */
  keptTokens?: number;
  missReason?: MissReason;
  /** The cache namespace, in hex, that the caller's KV was stored under, where it is another one. */
  formerNamespace?: string;
  arrivedAt: number;
  signal: AbortSignal;
  emit: (event: GenerateEvent) => void;
  onToken?: (output: StepOutput) => boolean;
  /** While the sequence still holds its blocks. */
  onFinished?: (track: PublishTrack) => void;
}

export interface StartedRun {
  run: SequenceRun;
  track: PublishTrack;
  /** Waits a moment for what explains a miss. */
  cache(): Promise<CacheReport>;
}

/** Plans where a sequence's KV comes from and hands it to the engine loop. Rejects when cancelled or overloaded. */
export async function startRun(parts: WorkerParts, request: RunRequest): Promise<StartedRun> {
  const { tokens, signal } = request;
  const plan = await parts.planner.plan({
    tenant: request.tenant,
    tokens,
    sample: request.sample,
    read: request.cache.read,
    write: request.cache.write,
    tail: request.tail,
    ttlSeconds: request.ttlSeconds,
    signal,
  });
  const explained = explainMiss(parts.kv, plan, tokens, request.formerNamespace);
  const track = new PublishTrack(parts.kv, parts.scheduler.blocks, plan, () => parts.loop.wake());
  // Followers on other workers wait for this lease: it goes back once the prompt can be restored, or nothing will come.
  const releaseLease = () => {
    for (const lease of plan.leases.splice(0)) void track.settled().then(() => lease.release());
  };
  const sequence = new Sequence({
    id: request.requestId,
    organizationId: request.organizationId,
    tokens,
    chain: plan.chain,
    sample: request.sample,
    readCache: plan.read,
    shareBlocks: plan.write,
    storedBlocks: plan.storedBlocks,
    tail: plan.tail,
    followUntil: parts.now() + plan.followMs,
  });
  const run = new SequenceRun({
    sequence,
    promptTokens: request.promptTokens,
    plan,
    restorer: parts.restorer,
    follower: parts.follower,
    track,
    speed: parts.speed,
    reusableTokens: request.keptTokens ?? plan.reusableBlocks * BLOCK_TOKENS,
    missReason: request.missReason,
    sampling: request.sampling,
    history: request.history,
    now: parts.now,
    arrivedAt: request.arrivedAt,
    emit: request.emit,
    onLeader: () => parts.loop.wake(),
    onPrefilled: releaseLease,
    onToken: request.onToken,
    onFinished: () => request.onFinished?.(track),
  });
  void run.ended.then(releaseLease, releaseLease);
  try {
    signal.throwIfAborted();
    parts.loop.submit(run, retryAfterSeconds(parts));
  } catch (error) {
    releaseLease();
    throw error;
  }
  const abort = () => {
    const reason: unknown = signal.reason;
    parts.loop.cancel(
      sequence,
      reason instanceof LongshoreError ? reason : new LongshoreError('cancelled', 'The client went away.'),
    );
  };
  signal.addEventListener('abort', abort, { once: true });
  void run.ended.catch(() => {}).finally(() => signal.removeEventListener('abort', abort));
  return { run, track, cache: () => withExplanation(run.cache(), explained) };
}

/** When a request that is turned away now has a chance: the time to prefill what is queued, 1 to 60 s. */
export function retryAfterSeconds(parts: Pick<WorkerParts, 'scheduler' | 'speed'>): number {
  const seconds = parts.scheduler.queuedTokens / parts.speed.tokensPerSecond;
  return Math.min(60, Math.max(1, Math.ceil(seconds)));
}
