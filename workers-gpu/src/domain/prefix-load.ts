import { BLOCK_TOKENS } from '@longshore/core';
import { assertInvariant } from './invariant.ts';

type BlockState = 'missing' | 'loading' | 'loaded';

/**
 * The blocks of one sequence that a tier may bring while the sequence itself computes from the front; a session's partial block, where
 * there is one, is the last of them. Every block is written by one side only: a load claims it before it writes, and gets none that
 * is computed or being computed; compute stops in front of a claimed one.
 */
export class PrefixLoad {
  /** Blocks [first, end) of the sequence, the tail's not counted. */
  readonly first: number;
  readonly end: number;
  /** Tokens of the sequence up to where the load reaches. */
  readonly endToken: number;
  /** Tokens that the sequence may compute now although the load goes on. */
  allowance = 0;
  /** Nothing more will come: what is missing is computed, up to the loaded blocks that are still ahead. */
  ended = false;
  private readonly states: BlockState[];

  /** `tailEnd`: the tail's last token + 1; its block is `end`. */
  constructor(first: number, end: number, tailEnd?: number) {
    this.first = first;
    this.end = end;
    this.endToken = tailEnd ?? end * BLOCK_TOKENS;
    this.states = new Array<BlockState>(end - first + (tailEnd === undefined ? 0 : 1)).fill('missing');
  }

  private stateOf(block: number): BlockState | undefined {
    return this.states[block - this.first];
  }

  /** Tokens from `computed` on that nobody has loaded or is about to. */
  gap(computed: number): number {
    let block = Math.floor(computed / BLOCK_TOKENS);
    while (this.stateOf(block) === 'missing') block++;
    return Math.max(0, Math.min(block * BLOCK_TOKENS, this.endToken) - computed);
  }

  /** How far the KV reaches without a gap when `computed` tokens have theirs. */
  reach(computed: number): number {
    let token = computed;
    while (token % BLOCK_TOKENS === 0 && this.stateOf(token / BLOCK_TOKENS) === 'loaded')
      token = Math.min(token + BLOCK_TOKENS, this.endToken);
    return token;
  }

  /** Takes blocks [first, end) for a load as far as they lie at or behind token `from`; the first one taken, undefined when none is. */
  claim(first: number, end: number, from: number): number | undefined {
    const start = Math.max(first, Math.ceil(from / BLOCK_TOKENS));
    assertInvariant(first >= this.first && end <= this.first + this.states.length, 'a load claims a foreign block');
    if (start >= end) return undefined;
    for (let block = start; block < end; block++) {
      assertInvariant(this.stateOf(block) === 'missing', `block ${block} is loaded twice`);
      this.states[block - this.first] = 'loading';
    }
    return start;
  }

  /** A claim ended: the blocks hold their KV, or are to be computed after all. */
  settle(first: number, end: number, loaded: boolean): void {
    for (let block = first; block < end; block++) {
      assertInvariant(this.stateOf(block) === 'loading', `block ${block} was not being loaded`);
      this.states[block - this.first] = loaded ? 'loaded' : 'missing';
    }
  }

  /** Loaded blocks lie ahead of token `computed`. */
  isAheadOf(computed: number): boolean {
    return this.states.some((state, index) => state === 'loaded' && (this.first + index) * BLOCK_TOKENS >= computed);
  }

  get writing(): boolean {
    return this.states.includes('loading');
  }

  /** Throws when a load writes where compute has been. `computed`: tokens that have their KV. */
  checkIntegrity(computed: number): void {
    this.states.forEach((state, index) => {
      const start = (this.first + index) * BLOCK_TOKENS;
      if (state === 'loading') assertInvariant(start >= computed, 'a computed block is being loaded');
      if (state === 'loaded') assertInvariant(start !== computed, 'the sequence stands before a loaded block');
    });
  }
}
