import type { Random } from './random.ts';

/** Asked after a context; the model continues `prompt`. */
export interface Question {
  prompt: number[];
  /** Every one must be contained in the continuation. */
  answers: string[];
  /** Each answer is scored by itself, as one question of the cell (a list of words to find). */
  countEach?: boolean;
  /** Where the (first) fact asked for begins, as a share of the context. */
  depth: number;
  /** Its place among a shared context's questions, from 1, where each is asked of the bare context; else its place in the dialogue. */
  turn?: number;
  maxTokens: number;
}

/** A question inside the context, its answer written out: scored where it stands, by what the model would have said. */
interface Probe {
  /** Index of the last token before the answer. */
  position: number;
  answer: number[];
  depth: number;
}

/** Tokens that are prefilled once, and what is asked about them. */
export interface Context {
  tokens: number[];
  /** Each is asked of the same prefix; its turns follow one another. Most have one turn. */
  dialogues: Question[][];
  probes: Probe[];
}

/** How a model wants its text. */
export interface Dialect {
  name: 'pairs' | 'prose';
  begin: number[];
  encode(text: string): Promise<number[]>;
  decode(tokens: number[]): string;
  /** A continuation is over once its text holds this. */
  stop: string;
}

export interface Wanted {
  dialect: Dialect;
  random: Random;
  /** Tokens of the context, a multiple of 128. */
  length: number;
  /** How many questions one context should carry. */
  questions: number;
}

export interface Task {
  name: string;
  dialects: ReadonlyArray<Dialect['name']>;
  /** One context can carry only a few questions: more contexts are made until there are enough. */
  questionsPerContext?: number;
  context(wanted: Wanted): Promise<Context>;
}
