/**
 * What loading stored KV from one tier costs here: milliseconds = latency + bytes / bandwidth. Both are learned from loads (exponentially
 * smoothed); the first ones run on the priors, of which the bandwidth is optimistic, so that a new worker tries.
 */
const SMOOTHING = 0.3;
/** Transfers that are both smaller and shorter tell the latency only. */
const MIN_OBSERVED_BYTES = 2_000_000;
const MIN_OBSERVED_MS = 100;
/**
 * By how much the bandwidth is believed to have grown for each load that was not tried. So little that the next trial comes when loading
 * is expected to be about as fast as computing: then compute runs beside it from the start, and a trial in vain costs next to nothing.
 */
const HOPE = 1.1;

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
    if (bytes < MIN_OBSERVED_BYTES && ms - firstMs < MIN_OBSERVED_MS) return;
    const seen = bytes / Math.max(ms - firstMs, ms / 10);
    // The first measurement says more than any prior.
    const weight = this.observations++ === 0 ? 1 : SMOOTHING;
    this.bytesPerMs += weight * (seen - this.bytesPerMs);
  }

  /** Nothing had come after `ms`, when the load was given up. */
  observeSilence(ms: number): void {
    if (ms > this.latency) this.latency += SMOOTHING * (ms - this.latency);
  }

  /** A load was judged too slow and not tried: one slow minute must not decide for ever. */
  relax(): void {
    if (this.bytesPerMs < this.prior) this.bytesPerMs = Math.min(this.prior, this.bytesPerMs * HOPE);
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
