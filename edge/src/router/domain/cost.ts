import type { WorkerState } from './worker-table.ts';

/** English prose on the tokenizers of this field; only the ratio between candidates matters. */
const CHARACTERS_PER_TOKEN = 4;
/** Until a worker has measured itself. */
const ASSUMED_TOKENS_PER_SECOND = 1000;
/** A request computes at least this much, however much of it is held. */
const MIN_COMPUTED_TOKENS = 64;
/** One request that has to wait for a slot waits about this long. */
const SLOT_WAIT_SECONDS = 2;
/** How much one running request slows another's prefill. */
const SHARE_OF_A_NEIGHBOUR = 0.1;
/** A worker may hold this multiple of the mean occupancy before its prefixes stop attracting requests. */
const BOUNDED_LOAD = 1.25;

export const tokensOf = (characters: number): number => Math.ceil(characters / CHARACTERS_PER_TOKEN);

/** Requests on the worker: running, waiting, and on their way. */
export function occupancy({ beat, pending }: WorkerState): number {
  return beat.load.running + beat.load.waiting + pending.length;
}

export function isFull({ beat, pending }: WorkerState): boolean {
  const { running, waiting, maxRunning, maxWaiting } = beat.load;
  return running + waiting + pending.length >= maxRunning + maxWaiting;
}

export function computedTokens(promptTokens: number, heldTokens: number): number {
  return Math.max(MIN_COMPUTED_TOKENS, promptTokens - heldTokens);
}

/**
 * Expected seconds to the first token: what is queued before it and what it has to compute itself, at the worker's own speed,
 * less what everyone already there takes of it, plus the wait for a slot. Where the worker holds a prefix, half of the queue up
 * to its length is not counted: the queue may well be that prefix on its way, and it would have to be waited for elsewhere too.
 */
export function timeToFirstToken(worker: WorkerState, promptTokens: number, heldTokens: number): number {
  const { load } = worker.beat;
  const speed = load.prefillTokensPerSecond > 0 ? load.prefillTokensPerSecond : ASSUMED_TOKENS_PER_SECOND;
  const queue = load.queuedTokens + worker.pending.reduce((sum, pick) => sum + pick.tokens, 0);
  const ahead = queue - Math.min(queue, heldTokens) / 2;
  const occupied = occupancy(worker);
  const waitsFor = Math.max(0, occupied + 1 - load.maxRunning);
  const compute = ((ahead + computedTokens(promptTokens, heldTokens)) / speed) * (1 + SHARE_OF_A_NEIGHBOUR * occupied);
  return compute + waitsFor * SLOT_WAIT_SECONDS;
}

/** Workers that one more request does not put far above the mean. Never empty for a non-empty list. */
export function withinBoundedLoad(workers: readonly WorkerState[]): WorkerState[] {
  const total = workers.reduce((sum, worker) => sum + occupancy(worker), 0);
  const bound = Math.ceil((BOUNDED_LOAD * (total + 1)) / Math.max(1, workers.length));
  return workers.filter(
    (worker) => occupancy(worker) + 1 <= Math.max(bound, Math.ceil(worker.beat.load.maxRunning / 4)),
  );
}
