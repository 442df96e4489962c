/**
 * Circuit breaker: after `threshold` failures in a row, calls are refused for `openMs`; then one trial call is let through, and its
 * outcome closes the breaker or opens it again. A dead store then costs one timeout every few seconds, not one per request.
 */
export class Breaker {
  private failures = 0;
  private openUntil = Number.NEGATIVE_INFINITY;
  private readonly threshold: number;
  private readonly openMs: number;

  constructor(threshold: number, openMs: number) {
    this.threshold = threshold;
    this.openMs = openMs;
  }

  /** True when the call may be made; `now` in milliseconds of any steady clock. A permitted trial holds the others back. */
  allows(now: number): boolean {
    if (this.failures < this.threshold) return true;
    if (now < this.openUntil) return false;
    this.openUntil = now + this.openMs;
    return true;
  }

  succeeded(): void {
    this.failures = 0;
    this.openUntil = Number.NEGATIVE_INFINITY;
  }

  failed(now: number): void {
    this.failures = Math.min(this.failures + 1, this.threshold);
    if (this.failures >= this.threshold) this.openUntil = now + this.openMs;
  }

  isOpen(now: number): boolean {
    return this.failures >= this.threshold && now < this.openUntil;
  }
}
