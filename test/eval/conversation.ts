import type { StepItem } from '@longshore/native';
import { type Outcome, outcomesOf } from './score.ts';
import type { Dialect, Question } from './task.ts';

/** One dialogue in progress: which tokens it computes next, and what it has said. */
export class Conversation {
  readonly outcomes: Outcome[] = [];
  readonly blocks: readonly number[];
  private readonly turns: readonly Question[];
  private readonly dialect: Dialect;
  private readonly id: string;
  private turn = 0;
  private pending: number[];
  private position: number;
  private said: number[] = [];
  private readonly most: number;

  /** `start`: tokens of the shared prefix; `blocks`: the physical blocks of prefix and dialogue; `most`: tokens of an item. */
  constructor(
    turns: readonly Question[],
    dialect: Dialect,
    id: string,
    start: number,
    blocks: readonly number[],
    most: number,
  ) {
    this.turns = turns;
    this.dialect = dialect;
    this.id = id;
    this.position = start;
    this.blocks = blocks;
    this.most = most;
    this.pending = [...turns[0]!.prompt];
  }

  get finished(): boolean {
    return this.turn === this.turns.length;
  }

  get tokens(): number {
    return Math.min(this.most, this.pending.length);
  }

  /** Most tokens that a dialogue of these turns adds to its prefix. */
  static most(turns: readonly Question[]): number {
    return turns.reduce((sum, { prompt, maxTokens }) => sum + prompt.length + maxTokens, 0);
  }

  item(): StepItem {
    return {
      tokens: Uint32Array.from(this.pending.slice(0, this.most)),
      position: this.position,
      blockTable: Uint32Array.from(this.blocks),
      sample: true,
    };
  }

  /** Takes the token that follows the item, where the item ended the turn's prompt. `isEnd`: it ends any text of this model. */
  take(token: number, isEnd: boolean): void {
    this.position += this.tokens;
    this.pending = this.pending.slice(this.tokens);
    if (this.pending.length > 0) return;
    this.pending = [token];
    this.said.push(token);
    const question = this.turns[this.turn]!;
    const text = this.dialect.decode(this.said);
    // Leading line breaks are no answer yet.
    if (!isEnd && this.said.length < question.maxTokens && !text.trimStart().includes(this.dialect.stop)) return;
    this.outcomes.push(...outcomesOf(question, text, `${this.id}.${this.turn}`, question.turn ?? this.turn + 1));
    this.turn++;
    this.said = [];
    if (!this.finished) this.pending.push(...this.turns[this.turn]!.prompt);
  }
}
