import type { Random } from './random.ts';

/** Longest filler piece, in tokens. */
const PIECE = 96;

/**
 * Exactly `length` tokens: `begin`, then filler with the needles spread over it in their order. Returns where each needle begins.
 * Throws when they do not fit. `filler` gives a piece of at most 96 tokens at a time.
 */
export async function compose(
  random: Random,
  length: number,
  begin: readonly number[],
  needles: ReadonlyArray<readonly number[]>,
  filler: () => Promise<number[]>,
): Promise<{ tokens: number[]; starts: number[] }> {
  const fixed = begin.length + needles.reduce((sum, needle) => sum + needle.length, 0);
  if (fixed > length) throw new Error(`${needles.length} needles take ${fixed} tokens; the context has ${length}`);
  const spread = Math.max(0, length - fixed - PIECE);
  const tokens = [...begin];
  const starts: number[] = [];
  let filled = 0;
  const fill = async (until: number): Promise<void> => {
    while (filled < until) {
      const piece = (await filler()).slice(0, Math.min(PIECE, length - fixed - filled));
      filled += piece.length;
      tokens.push(...piece);
    }
  };
  for (const [index, needle] of needles.entries()) {
    await fill(((index + random.next()) / needles.length) * spread);
    starts.push(tokens.length);
    tokens.push(...needle);
  }
  await fill(length - fixed);
  return { tokens, starts };
}
