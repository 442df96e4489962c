import { BLOCK_TOKENS } from '@longshore/core';
import { assertInvariant } from './invariant.ts';
import type { PrefixChain } from './prefix-chain.ts';
import type { PrefixLoad } from './prefix-load.ts';

/** waiting -> (restoring) -> running -> finished; running -> preempted -> (restoring) -> running. */
export type Phase = 'waiting' | 'restoring' | 'running' | 'preempted' | 'finished';

/** A session's partial last block, known under the hash of its fewer tokens. */
export interface TailHint {
  hash: string;
  /** Tokens of the chain up to the tail's end; not a multiple of 128. */
  endToken: number;
  /** The store has it too. */
  stored: boolean;
}

export interface SequenceOptions {
  id: string;
  organizationId: string;
  /** Prompt, and tokens already generated elsewhere. */
  tokens: number[];
  chain: PrefixChain;
  /** Draw a token after the last one; otherwise only the KV is wanted. */
  sample: boolean;
  /** Use blocks that others computed. */
  readCache: boolean;
  /** Let others use this sequence's blocks. */
  shareBlocks: boolean;
  /** Leading blocks worth restoring from the store. */
  storedBlocks?: number;
  tail?: TailHint;
  /** Milliseconds on the scheduler's clock until which it may wait for a block that another sequence is computing. */
  followUntil?: number;
}

export class Sequence {
  readonly id: string;
  readonly organizationId: string;
  readonly tokens: number[];
  readonly chain: PrefixChain;
  readonly sample: boolean;
  readonly readCache: boolean;
  readonly shareBlocks: boolean;
  readonly followUntil: number;
  readonly initialTokens: number;
  storedBlocks: number;
  tail: TailHint | undefined;
  phase: Phase = 'waiting';
  /** Physical block of each 128 positions. */
  blocks: number[] = [];
  /** Tokens whose KV is on the device. */
  computed = 0;
  /** Of these, tokens that nobody had to compute for this sequence since its admission. */
  cached = 0;
  /** What a tier is bringing, or brought ahead of what is computed; only while restoring. */
  load: PrefixLoad | undefined;
  /** Tokens up to here are being computed by the running step, or were by the last one. */
  stepEnd = 0;
  /** Leading complete blocks known to the prefix map, or known to be duplicates. */
  registered = 0;
  /** Another sequence's block while leading tokens are copied from it. */
  forkedFrom: number | undefined;
  /** Order of admission; decides who is preempted. */
  admission = -1;
  preemptions = 0;

  constructor(options: SequenceOptions) {
    if (options.tokens.length === 0) throw new RangeError('a sequence needs at least one token');
    this.id = options.id;
    this.organizationId = options.organizationId;
    this.tokens = options.tokens;
    this.initialTokens = options.tokens.length;
    this.chain = options.chain;
    this.sample = options.sample;
    this.readCache = options.readCache;
    this.shareBlocks = options.shareBlocks;
    this.storedBlocks = options.storedBlocks ?? 0;
    this.tail = options.tail;
    this.followUntil = options.followUntil ?? 0;
    this.chain.extend(this.tokens);
  }

  get remaining(): number {
    return this.tokens.length - this.computed;
  }

  /** Tokens that the next step may compute. */
  get runnable(): number {
    if (this.phase === 'running') return this.remaining;
    if (this.load === undefined) return 0;
    const gap = this.load.gap(this.computed);
    return this.load.ended ? gap : Math.min(gap, this.load.allowance);
  }

  /** One token is missing and its successor is wanted. */
  get decoding(): boolean {
    return this.sample && this.remaining === 1;
  }

  /**
   * Leading blocks that may come from a cache. The last token is always computed where its successor is wanted (its logits
   * are needed), and a shared block is never written, so the block that holds it is computed as a whole.
   */
  get reusableBlocks(): number {
    return Math.floor((this.sample ? this.tokens.length - 1 : this.tokens.length) / BLOCK_TOKENS);
  }

  /**
   * A block that ends beyond `denseTokens` has its true bytes only when one step computes it whole (docs/design/0017). Where the
   * tokens to complete a block are there but its first ones were computed earlier, the block is begun again. So is a block in which
   * the prompt ends but whose first tokens came from a session: what it holds depends on the steps that made it, and the prompt
   * is to be answered as it is without any cache.
   */
  realign(denseTokens: number): void {
    const start = this.computed - (this.computed % BLOCK_TOKENS);
    const end = start + BLOCK_TOKENS;
    if (this.computed === start || end <= denseTokens) return;
    if (this.tokens.length >= end) this.computed = start;
    else if (this.computed < this.initialTokens) {
      this.cached = Math.max(0, this.cached - (this.computed - start));
      this.computed = start;
    }
  }

  append(token: number): void {
    this.tokens.push(token);
    this.chain.extend(this.tokens);
  }
}

/** Throws unless a sequence outside the device holds nothing on it. */
export function checkQueued({ id, phase, blocks }: Sequence): void {
  assertInvariant(phase === 'waiting' || phase === 'preempted', `${id} is not queued`);
  assertInvariant(blocks.length === 0, `${id} waits but holds blocks`);
}
