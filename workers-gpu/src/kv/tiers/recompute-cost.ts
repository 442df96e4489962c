import { decodeHeader } from '@longshore/core';

/** Milliseconds to compute again the tokens of a sealed object, which its header names in the clear; undefined: no object of ours. */
export function recomputeCost(
  body: Uint8Array,
  estimateMs: (firstToken: number, endToken: number) => number,
): number | undefined {
  try {
    const { firstToken, tokenCount } = decodeHeader(body);
    return estimateMs(firstToken, firstToken + tokenCount);
  } catch {
    return undefined;
  }
}
