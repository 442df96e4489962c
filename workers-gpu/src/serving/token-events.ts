import type { GenerateEvent, TokenLogprob } from '@longshore/core';
import type { StepOutput } from '@longshore/native';
import type { Accepted } from '../domain/generation.ts';
import type { TextTokenizer } from '../tokenizer/text-tokenizer.ts';

const NO_BYTES = new Uint8Array();

/** The event for an accepted token; undefined when there is nothing to send: an end of sequence without held-back text. */
export function tokenEvent(
  accepted: Accepted,
  output: StepOutput,
  tokenizer: TextTokenizer,
  logprobs: boolean,
): GenerateEvent | undefined {
  const { index, text, append } = accepted;
  if (!append && text === '') return undefined;
  const id = output.token!;
  const event: GenerateEvent = { type: 'token', index, id, text };
  if (!logprobs || !append) return event;
  const describe = (token: number, logprob: number): TokenLogprob => ({
    id: token,
    text: tokenizer.spell(token),
    logprob,
    bytes: [...(tokenizer.bytesOf(token) ?? NO_BYTES)],
  });
  return {
    ...event,
    logprob: describe(id, output.logprob ?? 0),
    top: output.top.map((one) => describe(one.id, one.logprob)),
  };
}
