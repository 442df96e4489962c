/**
 * How well times tell two cases apart: the probability that a time of `slow` is above one of `fast`, ties counting half (Mann and Whitney
 * 1947). 0.5: not at all; 1: always.
 */
export function areaUnderCurve(fast: readonly number[], slow: readonly number[]): number {
  let wins = 0;
  for (const a of fast) for (const b of slow) wins += a < b ? 1 : a === b ? 0.5 : 0;
  return wins / (fast.length * slow.length);
}

/** Standard error of the area when both samples come from one distribution: the Mann-Whitney variance under the null hypothesis. */
export function standardErrorOfNoDifference(fast: number, slow: number): number {
  return Math.sqrt((fast + slow + 1) / (12 * fast * slow));
}
