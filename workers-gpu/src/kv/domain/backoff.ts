/** Waits between polls: grows by half each time from `firstMs` up to `lastMs`. `random` in [0, 1) spreads pollers over ±20 %. */
export function backoffMs(attempt: number, firstMs: number, lastMs: number, random: number): number {
  return Math.min(firstMs * 1.5 ** Math.min(attempt, 64), lastMs) * (0.8 + 0.4 * random);
}
