import type { DoneEvent, TokenEvent } from './report.ts';

/** How a dialect writes answers. Choices are objects of the dialect; the flow around them is the same for all. */
export interface AnswerFormat {
  /** Fields of every object of this answer; `whole` for the JSON answer, else a chunk. */
  envelope(whole: boolean): Record<string, unknown>;
  /** What opens a choice's stream, together with its first token. */
  opening?(index: number): Record<string, unknown>;
  token(index: number, event: TokenEvent): Record<string, unknown>;
  closing(index: number, done: DoneEvent): Record<string, unknown>;
  /** The whole choice. */
  choice(index: number, tokens: readonly TokenEvent[], done: DoneEvent): Record<string, unknown>;
}

export const textOf = (tokens: readonly TokenEvent[]): string => tokens.map(({ text }) => text).join('');

export function idsOf(tokens: readonly TokenEvent[], wanted: boolean): { token_ids?: number[] } {
  return wanted ? { token_ids: tokens.map(({ id }) => id) } : {};
}
