/**
 * What loading stored KV costs here: milliseconds = latency + bytes / bandwidth. Both are learned from loads (exponentially smoothed);
 * the first ones run on the priors, of which the bandwidth is optimistic, so that a new worker tries.
 */
const SMOOTHING = 0.3;
/** Smaller transfers tell the latency only. */
const MIN_OBSERVED_BYTES = 2_000_000;

export class TransferSpeed {
  private readonly prior: number;
  private bytesPerMs: number;
  private latency: number;
  private observations = 0;

  constructor(priorBytesPerMs: number, priorLatencyMs: number) {
    this.prior = priorBytesPerMs;
    this.bytesPerMs = priorBytesPerMs;
    this.latency = priorLatencyMs;
  }

  /** `ms` for `bytes`, of which the first piece was there after `firstMs`. */
  observe(bytes: number, ms: number, firstMs: number): void {
    if (bytes <= 0 || !(ms > 0)) return;
    this.latency += SMOOTHING * (firstMs - this.latency);
    if (bytes < MIN_OBSERVED_BYTES) return;
    const seen = bytes / Math.max(ms - firstMs, ms / 10);
    // The first measurement says more than any prior.
    const weight = this.observations++ === 0 ? 1 : SMOOTHING;
    this.bytesPerMs += weight * (seen - this.bytesPerMs);
  }

  /** A restore was judged too slow and not tried: forget a little, so that one slow minute does not decide for ever. */
  relax(): void {
    this.bytesPerMs += (SMOOTHING / 3) * (this.prior - this.bytesPerMs);
  }

  /** Until the first bytes come. */
  get latencyMs(): number {
    return this.latency;
  }

  estimateMs(bytes: number): number {
    return this.latency + bytes / this.bytesPerMs;
  }

  get megabytesPerSecond(): number {
    return this.bytesPerMs / 1000;
  }
}
