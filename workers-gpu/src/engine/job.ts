import type { LongshoreError } from '@longshore/core';
import type { SamplingParams, StepOutput } from '@longshore/native';
import type { Admission } from '../domain/scheduler.ts';
import type { Sequence } from '../domain/sequence.ts';

/** How far a restore got; both false and zero are fine: what is missing is computed. */
export interface RestoreResult {
  /** Leading blocks of the sequence that now hold their KV, the resident ones included. */
  validBlocks: number;
  tailValid: boolean;
}

/** One sequence on its way through the engine, and what its request wants to hear. Callbacks run on the loop and must not throw. */
export interface Job {
  readonly sequence: Sequence;
  readonly sampling?: SamplingParams;
  /** Tokens that penalties count, when a penalty is on. */
  history?(): Uint32Array;
  /** Loads blocks [admission.residentBlocks, admission.restoreEnd) and the tail. Never rejects. */
  restore(admission: Admission, signal: AbortSignal): Promise<RestoreResult>;
  onAdmitted(admission: Admission): void;
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
