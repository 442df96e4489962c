import type { Question } from './task.ts';

/** What one question, or one answer of a list, came to. */
export interface Outcome {
  /** The same over all policies: which questions dense attention answers is a set of these. */
  id: string;
  correct: boolean;
  depth: number;
  /** From 1. */
  turn: number;
}

/** Exact containment: every answer must stand in the continuation as a whole, not as a part of a longer number or word. */
export function contains(continuation: string, answer: string): boolean {
  const escaped = answer.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`(?<![A-Za-z0-9])${escaped}(?![A-Za-z0-9])`).test(continuation);
}

export function outcomesOf(question: Question, continuation: string, id: string, turn: number): Outcome[] {
  const { answers, depth } = question;
  if (question.countEach) {
    return answers.map((answer, at) => ({ id: `${id}.${at}`, correct: contains(continuation, answer), depth, turn }));
  }
  return [{ id, correct: answers.every((answer) => contains(continuation, answer)), depth, turn }];
}
