import { BLOCK_TOKENS } from '@longshore/core';
import type { Sequence } from './sequence.ts';

/** `count` tokens of a sequence from absolute position `start`; `sample` when the token after them is wanted. */
export interface StepEntry {
  sequence: Sequence;
  start: number;
  count: number;
  sample: boolean;
}

export interface StepLimits {
  maxTokens: number;
  /** Prefill tokens of a step in which others decode. */
  mixedPrefillTokens: number;
  /** The same for the ends of prompts that are one block or less from their first token; they go first. 0: they wait their turn. */
  tailTokens: number;
  /** Blocks that end beyond are computed whole, or to the end of the tokens, or not at all, even where that exceeds `mixedPrefillTokens`. */
  denseTokens: number;
}

/**
 * One token for every decoding sequence, then prefill chunks. Tails come first: sequences that are one block or less from their first
 * token, because waiting behind a long prefill would cost each of them more than they cost it. Between organizations block by
 * block to whoever was served least, inside an organization the first admitted finishes first (that is what its time to first
 * token wants). Chunks end on block boundaries where they can, so that blocks complete and can be shared early.
 */
export function planStep(
  running: readonly Sequence[],
  limits: StepLimits,
  servedBy: (organizationId: string) => number,
): StepEntry[] {
  const decoding = running.filter((sequence) => sequence.decoding);
  const prefilling = running.filter((sequence) => !sequence.decoding && sequence.runnable > 0);
  const entries = decoding.slice(0, limits.maxTokens).map((sequence) => entryOf(sequence, 1));
  const room = limits.maxTokens - entries.length;
  let spent = 0;
  const add = (sequences: readonly Sequence[], budget: number) => {
    for (const [sequence, granted] of shareOut(sequences, budget, servedBy)) {
      const count = wholeBlocks(sequence, alignedCount(sequence, granted), room - spent, limits.denseTokens);
      if (count > 0) entries.push(entryOf(sequence, count));
      spent += count;
    }
  };
  const mixed = decoding.length > 0;
  const tails = limits.tailTokens > 0 ? prefilling.filter(isTail) : [];
  add(tails, mixed ? Math.min(room, limits.tailTokens) : room);
  const left = mixed ? Math.min(room, limits.mixedPrefillTokens) - spent : room - spent;
  if (left > 0) add(tails.length === 0 ? prefilling : prefilling.filter((sequence) => !isTail(sequence)), left);
  return entries;
}

/** One block or less from its first token. */
export const isTail = (sequence: Sequence): boolean => sequence.remaining <= BLOCK_TOKENS;

/** `count`, or the rest of a block (of the tokens, in their last block) that one step has to compute: that first, or nothing where it does not fit. */
function wholeBlocks(sequence: Sequence, count: number, room: number, denseTokens: number): number {
  const within = Math.min(count, room);
  const end = sequence.computed + within;
  const begun = end % BLOCK_TOKENS;
  const blockEnd = end - begun + BLOCK_TOKENS;
  if (begun === 0 || blockEnd <= denseTokens || end === sequence.tokens.length) return within;
  if (within > begun) return within - begun;
  const needed = Math.min(blockEnd, sequence.tokens.length) - sequence.computed;
  return needed <= room ? needed : 0;
}

function entryOf(sequence: Sequence, count: number): StepEntry {
  const last = sequence.computed + count === sequence.tokens.length;
  return { sequence, start: sequence.computed, count, sample: sequence.sample && last };
}

function alignedCount(sequence: Sequence, granted: number): number {
  if (granted >= sequence.runnable) return sequence.runnable;
  const end = sequence.computed + granted;
  const aligned = end - (end % BLOCK_TOKENS) - sequence.computed;
  return aligned > 0 ? aligned : granted;
}

function shareOut(
  prefilling: readonly Sequence[],
  budget: number,
  servedBy: (organizationId: string) => number,
): Map<Sequence, number> {
  const granted = new Map<Sequence, number>();
  const served = new Map<string, number>();
  for (const { organizationId } of prefilling) served.set(organizationId, servedBy(organizationId));
  let left = budget;
  let open = [...prefilling];
  while (left > 0 && open.length > 0) {
    const next = open.reduce((best, one) =>
      served.get(one.organizationId)! < served.get(best.organizationId)! ? one : best,
    );
    const have = granted.get(next) ?? 0;
    const toBoundary = BLOCK_TOKENS - ((next.computed + have) % BLOCK_TOKENS);
    const quantum = Math.min(toBoundary, next.runnable - have, left);
    granted.set(next, have + quantum);
    served.set(next.organizationId, served.get(next.organizationId)! + quantum);
    left -= quantum;
    if (have + quantum === next.runnable) open = open.filter((one) => one !== next);
  }
  return granted;
}
