import type { LongshoreError } from '@longshore/core';
import type { SamplingParams, StepOutput } from '@longshore/native';
import type { Admission } from '../domain/scheduler.ts';
import type { Sequence } from '../domain/sequence.ts';

/** What a restore asks of the loop; see Scheduler.claim. */
export interface RestoreTarget {
  /** The first of blocks [first, end) that may be written, undefined when none is wanted any more. */
  claim(first: number, end: number): number | undefined;
  /** Claimed blocks hold their KV, or not. */
  loaded(first: number, end: number, intact: boolean): void;
}

/** One sequence on its way through the engine, and what its request wants to hear. Callbacks run on the loop and must not throw. */
export interface Job {
  readonly sequence: Sequence;
  readonly sampling?: SamplingParams;
  /** Tokens that penalties count, when a penalty is on. */
  history?(): Uint32Array;
  /**
   * Loads blocks [admission.residentBlocks, admission.restoreEnd) and the tail, each claimed before it is written. Never rejects;
   * what is missing when it ends is computed. `signal`: nothing more is wanted.
   */
  restore(admission: Admission, target: RestoreTarget, signal: AbortSignal): Promise<void>;
  /** Tokens that are worth computing now although the restore goes on; asked before every step. */
  computeBesideRestore?(): number;
  /** Prompt tokens whose KV is known to exist, here or with the worker that this job's restore waits for. */
  readonly progress: number;
  onAdmitted(admission: Admission): void;
  /** It waits for another sequence's blocks, and that one's progress is `tokens`. May be called often with the same number. */
  onFollowing(tokens: number): void;
  /** KV exists for `computed` tokens, of which `fresh` came from the step that just ran. */
  onProgress(computed: number, fresh: number): void;
  /** Blocks [start, end) hold their final KV. */
  onBlocks(start: number, end: number): void;
  /** A token was drawn. True ends the sequence. */
  onToken(output: StepOutput): boolean;
  /** The last word while the sequence still holds its blocks; they are given back when this returns. */
  onFinished(): void;
  onFailed(error: LongshoreError): void;
}
