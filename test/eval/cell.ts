import type { Outcome } from './score.ts';

/** One line of the results: a model, a task, a length and a policy. Times in milliseconds, accuracies as shares. */
export interface CellLine {
  bench: 'longctx';
  model: string;
  task: string;
  n: number;
  policy: string;
  questions: number;
  correct: number;
  accuracy: number;
  /** Of the questions that dense attention answers, the share that this policy answers too; null where dense was not run or answers none. */
  kept: number | null;
  dense_correct: number | null;
  by_depth: Share[];
  by_turn: Share[];
  /** Computed score entries of prefill / those of dense attention, and those that the second look scanned; null where not counted. */
  density: number | null;
  scanned: number | null;
  /** Under a sparse decode policy, over the questions: shares of dense decode's bytes and of the keys in view; attention's time a token. */
  decode?: {
    bytes: number | null;
    scanned: number | null;
    kept: number | null;
    /** Attention mass kept, at the tokens that were measured. */
    recall: number | null;
    attention_us: number;
  };
  contexts: number;
  prefill_ms: number;
  ask_ms: number;
  numerics: string;
  seed: string;
}

interface Share {
  /** "0.2" for depths from 0.2 to 0.4; the turn's number. */
  at: string;
  questions: number;
  correct: number;
}

const DEPTHS = 5;

function shares(outcomes: readonly Outcome[], keyOf: (outcome: Outcome) => string): Share[] {
  const found = new Map<string, Share>();
  for (const outcome of outcomes) {
    const at = keyOf(outcome);
    const share = found.get(at) ?? { at, questions: 0, correct: 0 };
    share.questions++;
    if (outcome.correct) share.correct++;
    found.set(at, share);
  }
  return [...found.values()].sort((a, b) => Number(a.at) - Number(b.at));
}

export function scores(outcomes: readonly Outcome[], dense: ReadonlySet<string> | undefined) {
  const correct = outcomes.filter((outcome) => outcome.correct);
  const also = dense === undefined ? 0 : correct.filter(({ id }) => dense.has(id)).length;
  const depth = (outcome: Outcome) => (Math.min(DEPTHS - 1, Math.floor(outcome.depth * DEPTHS)) / DEPTHS).toFixed(1);
  return {
    questions: outcomes.length,
    correct: correct.length,
    accuracy: outcomes.length === 0 ? 0 : round(correct.length / outcomes.length, 4),
    kept: dense === undefined || dense.size === 0 ? null : round(also / dense.size, 4),
    dense_correct: dense === undefined ? null : dense.size,
    by_depth: shares(outcomes, depth),
    by_turn: shares(outcomes, ({ turn }) => String(turn)),
  };
}

export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
