/**
 * When to ask a second time for something that takes long: later than 19 of 20 recent ones took, with a margin. Learns from what it is
 * told; silent until it has heard enough. At most one request in ten is asked twice, so that a store that is slow as a whole is not
 * burdened with twice the work.
 */
const REMEMBERED = 64;
const ENOUGH = 16;
const PERCENTILE = 0.95;
const MARGIN = 1.5;
const SHORTEST_MS = 50;
const ASKED_PER_HEDGE = 10;

export class HedgeClock {
  private readonly recent: number[] = [];
  private at = 0;
  private credit = 0;
  private hedged = 0;

  /** A request is made. */
  asked(): void {
    this.credit = Math.min(1, this.credit + 1 / ASKED_PER_HEDGE);
  }

  /** It took so long to its end, whoever answered. */
  observe(ms: number): void {
    this.recent[this.at] = ms;
    this.at = (this.at + 1) % REMEMBERED;
  }

  /** Undefined: not to be asked twice. */
  timeoutMs(): number | undefined {
    if (this.recent.length < ENOUGH) return undefined;
    const sorted = [...this.recent].sort((a, b) => a - b);
    const high = sorted[Math.min(sorted.length - 1, Math.floor(PERCENTILE * sorted.length))]!;
    return Math.max(SHORTEST_MS, MARGIN * high);
  }

  /** True when one may be asked a second time now. */
  take(): boolean {
    if (this.credit < 1 - 1e-9) return false;
    this.credit = 0;
    this.hedged++;
    return true;
  }

  get hedges(): number {
    return this.hedged;
  }
}
