import type { TokenLogprob } from '@longshore/core';
import { type AnswerFormat, idsOf, textOf } from './answer-format.ts';
import type { TokenEvent } from './report.ts';

export interface ChatFormatOptions {
  id: string;
  model: string;
  /** Unix seconds. */
  created: number;
  logprobs: boolean;
  tokenIds: boolean;
  /** Set for a session's turn. */
  sessionId?: string;
}

const entry = ({ text, logprob, bytes }: TokenLogprob) => ({ token: text, logprob, bytes });

function logprobsOf(tokens: readonly TokenEvent[]) {
  const content = tokens.flatMap(({ logprob, top }) =>
    logprob === undefined ? [] : [{ ...entry(logprob), top_logprobs: (top ?? []).map(entry) }],
  );
  return { content, refusal: null };
}

/** chat.completion and chat.completion.chunk. */
export function chatFormat({ id, model, created, logprobs, tokenIds, sessionId }: ChatFormatOptions): AnswerFormat {
  const logprobsFor = (tokens: readonly TokenEvent[]) => (logprobs ? logprobsOf(tokens) : null);
  return {
    envelope: (whole) => ({
      id,
      object: whole ? 'chat.completion' : 'chat.completion.chunk',
      created,
      model,
      system_fingerprint: null,
      ...(sessionId === undefined ? {} : { session_id: sessionId }),
    }),
    opening: (index) => ({ index, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }),
    token: (index, event) => ({
      index,
      delta: { content: event.text },
      logprobs: logprobsFor([event]),
      finish_reason: null,
      ...idsOf([event], tokenIds),
    }),
    closing: (index, { finishReason }) => ({ index, delta: {}, logprobs: null, finish_reason: finishReason }),
    choice: (index, tokens, { finishReason }) => ({
      index,
      message: { role: 'assistant', content: textOf(tokens), refusal: null },
      logprobs: logprobsFor(tokens),
      finish_reason: finishReason,
      ...idsOf(tokens, tokenIds),
    }),
  };
}
