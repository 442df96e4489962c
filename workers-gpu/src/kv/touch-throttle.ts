const INTERVAL_MS = 60_000;
const MAX_KEYS = 10_000;

/** Which chains' expiry is worth sliding now: each at most once a minute, so that a hot prefix does not become a hot row. */
export class TouchThrottle {
  private readonly touchedAt = new Map<string, number>();
  private readonly now: () => number;

  constructor(now: () => number) {
    this.now = now;
  }

  due(keys: readonly string[]): string[] {
    const now = this.now();
    const due = keys.filter((key) => now - (this.touchedAt.get(key) ?? Number.NEGATIVE_INFINITY) >= INTERVAL_MS);
    for (const key of due) {
      this.touchedAt.delete(key);
      this.touchedAt.set(key, now);
      if (this.touchedAt.size > MAX_KEYS) this.touchedAt.delete(this.touchedAt.keys().next().value!);
    }
    return due;
  }
}
