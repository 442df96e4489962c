import { LongshoreError } from '@longshore/core';

/** Throws context_length_exceeded when the prompt leaves no room for `reserve` more tokens. */
export function checkContext(promptTokens: number, limit: number, reserve: number): void {
  if (promptTokens + reserve <= limit) return;
  throw new LongshoreError(
    'context_length_exceeded',
    `This model's context holds ${limit} tokens, but the prompt has ${promptTokens} tokens. Shorten the prompt.`,
    { param: 'messages' },
  );
}
