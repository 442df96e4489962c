import { type AnswerFormat, idsOf, textOf } from './answer-format.ts';
import type { TokenEvent } from './report.ts';

export interface CompletionFormatOptions {
  id: string;
  model: string;
  /** Unix seconds. */
  created: number;
  logprobs: boolean;
  tokenIds: boolean;
  /** Text that begins the answer of a choice: its prompt when echo is asked for, else empty. */
  prefixOf(index: number): string;
}

/** `offset`: characters of the choice's text before the first of `tokens`. */
function logprobsOf(tokens: readonly TokenEvent[], offset: number) {
  const known = tokens.filter(({ logprob }) => logprob !== undefined);
  let position = offset;
  return {
    tokens: known.map(({ logprob }) => logprob!.text),
    token_logprobs: known.map(({ logprob }) => logprob!.logprob),
    top_logprobs: known.map(({ top }) => Object.fromEntries((top ?? []).map(({ text, logprob }) => [text, logprob]))),
    text_offset: known.map(({ text }) => {
      const start = position;
      position += text.length;
      return start;
    }),
  };
}

/** text_completion, streamed and whole. */
export function completionFormat(options: CompletionFormatOptions): AnswerFormat {
  const { id, model, created, logprobs, tokenIds, prefixOf } = options;
  const offsets = new Map<number, number>();
  return {
    envelope: () => ({ id, object: 'text_completion', created, model, system_fingerprint: null }),
    token: (index, event) => {
      const prefix = offsets.has(index) ? '' : prefixOf(index);
      const offset = (offsets.get(index) ?? 0) + prefix.length;
      offsets.set(index, offset + event.text.length);
      return {
        index,
        text: prefix + event.text,
        logprobs: logprobs ? logprobsOf([event], offset) : null,
        finish_reason: null,
        ...idsOf([event], tokenIds),
      };
    },
    closing: (index, { finishReason }) => ({
      index,
      text: offsets.has(index) ? '' : prefixOf(index),
      logprobs: null,
      finish_reason: finishReason,
    }),
    choice: (index, tokens, { finishReason }) => ({
      index,
      text: prefixOf(index) + textOf(tokens),
      logprobs: logprobs ? logprobsOf(tokens, prefixOf(index).length) : null,
      finish_reason: finishReason,
      ...idsOf(tokens, tokenIds),
    }),
  };
}
