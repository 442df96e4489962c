import type { FinishReason } from '@longshore/core';
import { Detokenizer, type TokenBytes } from './detokenizer.ts';
import { StopMatcher } from './stop-matcher.ts';

export interface GenerationOptions {
  stops: readonly string[];
  eosIds: ReadonlySet<number>;
  ignoreEos: boolean;
  /** Tokens of the answer at most, those of a continuation included. */
  maxTokens: number;
  bytesOf: TokenBytes;
}

export interface Finish {
  reason: FinishReason;
  stopSequence?: string;
}

export interface Accepted {
  /** Index of the token in the answer. */
  index: number;
  /** Text that may be sent with it; may belong to earlier tokens, may be empty. */
  text: string;
  /** The token is part of the answer: false for the end-of-sequence token. */
  append: boolean;
  finish?: Finish;
}

/** The answer as it grows: text deltas, stop strings, end of sequence, length. Pure; the engine draws the tokens. */
export class Generation {
  private readonly options: GenerationOptions;
  private readonly detokenizer: Detokenizer;
  private readonly matcher: StopMatcher;
  private sent = '';
  private pushedLength = 0;
  /** Where tokens and whole characters coincide: after `tokens` tokens the text is `length` long. Ascending. */
  private readonly joints: Array<{ tokens: number; length: number }> = [{ tokens: 0, length: 0 }];
  private count = 0;

  constructor(options: GenerationOptions) {
    this.options = options;
    this.detokenizer = new Detokenizer(options.bytesOf);
    this.matcher = new StopMatcher(options.stops);
  }

  get tokenCount(): number {
    return this.count;
  }

  /** All text so far, without held-back text. */
  get text(): string {
    return this.sent;
  }

  /** Takes tokens that were delivered elsewhere. A finish means that they already end the answer. */
  prime(tokens: readonly number[]): Finish | undefined {
    for (const token of tokens) {
      const { finish } = this.accept(token);
      if (finish !== undefined) return finish;
    }
    return undefined;
  }

  accept(token: number): Accepted {
    const index = this.count;
    if (this.options.eosIds.has(token) && !this.options.ignoreEos) {
      return { index, text: this.flush(), append: false, finish: { reason: 'stop' } };
    }
    this.count++;
    const piece = this.detokenizer.push(token);
    this.pushedLength += piece.length;
    if (this.detokenizer.clean) this.joints.push({ tokens: this.count, length: this.pushedLength });
    const matched = this.matcher.push(piece);
    this.sent += matched.text;
    if (matched.stop !== undefined) {
      return { index, text: matched.text, append: true, finish: { reason: 'stop', stopSequence: matched.stop } };
    }
    if (this.count >= this.options.maxTokens) {
      return { index, text: matched.text + this.flush(), append: true, finish: { reason: 'length' } };
    }
    return { index, text: matched.text, append: true };
  }

  private flush(): string {
    const end = this.detokenizer.flush();
    const matched = end === '' ? { text: '' } : this.matcher.push(end);
    const text = matched.text + this.matcher.flush();
    this.sent += text;
    return text;
  }

  /** The longest run of the answer's tokens whose text is whole and was sent: what a session keeps as tokens. */
  kept(): { tokens: number; text: string } {
    const joint = this.joints.findLast((one) => one.length <= this.sent.length)!;
    return { tokens: joint.tokens, text: this.sent.slice(0, joint.length) };
  }
}
