import { type ChatMessage, LongshoreError, type PromptInput } from '@longshore/core';
import {
  appendMessages,
  appendText,
  EMPTY_TRANSCRIPT,
  newText,
  type Render,
  type RenderedPrompt,
  type Transcript,
} from '../domain/transcript.ts';
import { type ModelText, renderMessages } from '../tokenizer/model-text.ts';

export interface BuiltPrompt {
  tokens: number[];
  /** How the prompt reads; a session's transcript continues from it. */
  rendered: RenderedPrompt;
  /** Leading tokens that are exactly the session's stored ones. */
  sharedTokens: number;
}

/** Turns what a request says into tokens. Throws LongshoreError invalid_request. */
export class PromptBuilder {
  private readonly text: ModelText;
  private readonly vocab: number;
  private readonly render: Render;

  constructor(text: ModelText, vocab: number) {
    this.text = text;
    this.vocab = vocab;
    this.render = (messages, generate) => renderMessages(text, messages, generate);
  }

  /** A prompt of its own. `generate` opens the assistant's answer. */
  async build(input: PromptInput, generate: boolean): Promise<BuiltPrompt> {
    if (input.kind === 'tokens') return this.fromTokens([], EMPTY_TRANSCRIPT, input.tokens);
    const rendered = this.rendered(EMPTY_TRANSCRIPT, input, generate);
    const tokens = await this.text.tokenizer.encode(rendered.text, input.kind === 'text' ? 'text' : 'template');
    if (tokens.length === 0) throw new LongshoreError('invalid_request', 'The prompt is empty.', { param: 'prompt' });
    return { tokens, rendered, sharedTokens: 0 };
  }

  /** Messages as a session holds them: rendered and tokenized from the start, with no answer opened. */
  async renderAll(messages: readonly ChatMessage[]): Promise<BuiltPrompt> {
    const rendered = appendMessages(EMPTY_TRANSCRIPT, messages, this.render, false);
    const tokens = await this.text.tokenizer.encode(rendered.text, 'template');
    return { tokens, rendered, sharedTokens: 0 };
  }

  /** A session's next turn: its stored tokens, and the tokens of what is new. */
  async append(stored: readonly number[], transcript: Transcript, input: PromptInput): Promise<BuiltPrompt> {
    if (input.kind === 'tokens') return this.fromTokens(stored, transcript, input.tokens);
    const rendered = this.rendered(transcript, input, true);
    const added = newText(transcript, rendered);
    if (added !== undefined && stored.length > 0) {
      const tokens = [...stored, ...(await this.text.tokenizer.encode(added, 'middle'))];
      return { tokens, rendered, sharedTokens: stored.length };
    }
    const start = rendered.messages.length > 0 && rendered.prefixText === '' ? 'template' : 'text';
    const tokens = await this.text.tokenizer.encode(rendered.text, start);
    const differs = tokens.findIndex((token, index) => token !== stored[index]);
    return { tokens, rendered, sharedTokens: differs < 0 ? Math.min(tokens.length, stored.length) : differs };
  }

  private rendered(
    transcript: Transcript,
    input: Exclude<PromptInput, { kind: 'tokens' }>,
    generate: boolean,
  ): RenderedPrompt {
    return input.kind === 'messages'
      ? appendMessages(transcript, input.messages, this.render, generate)
      : appendText(transcript, input.text, this.render, generate);
  }

  private fromTokens(stored: readonly number[], transcript: Transcript, added: readonly number[]): BuiltPrompt {
    const unknown = added.find((token) => token >= this.vocab);
    if (unknown !== undefined) {
      throw new LongshoreError('invalid_request', `Token ${unknown} is not in the vocabulary of ${this.vocab}.`, {
        param: 'prompt',
      });
    }
    if (transcript.messages.length > 0) {
      throw new LongshoreError('invalid_request', 'Tokens cannot be appended to a session of messages; send text.', {
        param: 'input',
      });
    }
    const text = transcript.text + this.text.tokenizer.decode(added);
    return {
      tokens: [...stored, ...added],
      rendered: { prefixText: text, messages: [], text },
      sharedTokens: stored.length,
    };
  }
}
