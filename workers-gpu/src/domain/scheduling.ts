import type { Sequence } from './sequence.ts';
import type { StepEntry } from './step-plan.ts';

/** What a sequence got at its admission. Block counts are leading blocks of its table. */
export interface Admission {
  sequence: Sequence;
  residentBlocks: number;
  /** Blocks [residentBlocks, restoreEnd) are to be restored from the store, as far as they are not computed sooner. */
  restoreEnd: number;
  tail: 'device' | 'store' | 'none';
  /** The leading tokens of the first missing block are to be copied from another sequence's block before it runs. */
  fork: Fork | undefined;
}

/** Copies `tokens` leading tokens of a physical block to another, the block that starts at `firstToken`. */
export interface Fork {
  from: number;
  to: number;
  firstToken: number;
  tokens: number;
}

/** A queued sequence and the one that brings what it waits for. */
export interface Following {
  follower: Sequence;
  leader: Sequence;
}

export interface StepPlan {
  entries: StepEntry[];
  preempted: Sequence[];
}

/** Blocks [start, end) of a sequence became complete. */
export interface CompletedBlocks {
  sequence: Sequence;
  start: number;
  end: number;
}
