/**
 * What loading stored KV costs here: milliseconds = latency + bytes / bandwidth. Bandwidth is learned from restores (exponentially
 * smoothed); the first ones run on the prior, which is optimistic, so that a new worker tries.
 */
const SMOOTHING = 0.3;

export class TransferSpeed {
  private readonly prior: number;
  private bytesPerMs: number;
  private readonly latencyMs: number;

  constructor(priorBytesPerMs: number, latencyMs: number) {
    this.prior = priorBytesPerMs;
    this.bytesPerMs = priorBytesPerMs;
    this.latencyMs = latencyMs;
  }

  observe(bytes: number, ms: number): void {
    if (bytes <= 0 || !(ms > 0)) return;
    const seen = bytes / Math.max(ms - this.latencyMs, ms / 10);
    this.bytesPerMs += SMOOTHING * (seen - this.bytesPerMs);
  }

  /** A restore was judged too slow and not tried: forget a little, so that one slow minute does not decide for ever. */
  relax(): void {
    this.bytesPerMs += (SMOOTHING / 3) * (this.prior - this.bytesPerMs);
  }

  estimateMs(bytes: number): number {
    return this.latencyMs + bytes / this.bytesPerMs;
  }

  get megabytesPerSecond(): number {
    return this.bytesPerMs / 1000;
  }
}
