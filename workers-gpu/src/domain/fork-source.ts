import { BLOCK_TOKENS, equalBytes } from '@longshore/core';
import type { Sequence } from './sequence.ts';

/** Fewer tokens than this are computed sooner than copied. */
const MIN_FORKED_TOKENS = 16;

/** Where the leading tokens of a sequence's first missing block can be copied from. */
export interface ForkSource {
  source: Sequence;
  /** Tokens of the block that both have, counted from the block's start. */
  tokens: number;
  /** The source has computed them; else they are on their way. */
  ready: boolean;
}

/**
 * The running sequence that shares the most tokens of block `index` with `sequence`: complete blocks are found by their hash, the
 * partial one that follows is compared token by token. The last token of a prompt whose successor is wanted is never copied.
 */
export function findForkSource(sequence: Sequence, index: number, active: readonly Sequence[]): ForkSource | undefined {
  const start = index * BLOCK_TOKENS;
  const limit = Math.min(BLOCK_TOKENS, sequence.tokens.length - start - (sequence.sample ? 1 : 0));
  let best: ForkSource | undefined;
  for (const source of active) {
    if (source.phase !== 'running' || !source.shareBlocks || source === sequence) continue;
    if (source.blocks.length <= index || source.computed < start || !sameParent(sequence, source, index)) continue;
    const tokens = sharedTokens(sequence, source, start, limit);
    if (tokens < MIN_FORKED_TOKENS) continue;
    const ready = source.computed >= start + tokens;
    const better = best === undefined || tokens > best.tokens || (tokens === best.tokens && ready && !best.ready);
    if (better) best = { source, tokens, ready };
  }
  return best;
}

function sameParent(a: Sequence, b: Sequence, index: number): boolean {
  if (a.organizationId !== b.organizationId) return false;
  return equalBytes(a.chain.parentOf(index), b.chain.parentOf(index));
}

function sharedTokens(a: Sequence, b: Sequence, start: number, limit: number): number {
  const end = Math.min(limit, b.tokens.length - start);
  let count = 0;
  while (count < end && a.tokens[start + count] === b.tokens[start + count]) count++;
  return count;
}
