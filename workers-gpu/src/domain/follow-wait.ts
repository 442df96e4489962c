/** Why a follower stops waiting and computes itself. */
export type GaveUp = 'deadline' | 'stalled' | 'slower';

/** Times the predicted remainder. */
const PATIENCE = 1.5;
/** A leader that needs this many times as long as the follower itself would is not worth waiting for. */
const MOST_TIMES_OWN = 2;
const SMOOTHING = 0.5;

/**
 * How long to wait for a prefix that another worker computes: while it is seen to advance, no longer than its predicted
 * remainder (with some slack), never longer than the deadline, and not at all where computing it here would be faster. The
 * prediction starts from the leader's own estimate and follows what it really does. Times in milliseconds on one monotonic clock.
 */
export class FollowWait {
  private readonly deadlineAt: number;
  private readonly slackMs: number;
  private left: number | undefined;
  private advancedAt: number;
  private blockMs = 0;

  /** `slackMs`: renewals come twice a second and a step takes a while; a leader is not late before that has passed. */
  constructor(now: number, deadlineMs: number, slackMs: number) {
    this.deadlineAt = now + deadlineMs;
    this.advancedAt = now;
    this.slackMs = slackMs;
  }

  /** The leader has `left` blocks to compute, at `blockMs` each as it says (undefined: not yet known). */
  observe(now: number, left: number, blockMs: number | undefined): void {
    if (this.left === undefined || left > this.left) {
      this.blockMs = blockMs ?? 0;
      this.advancedAt = now;
    } else if (left < this.left) {
      const seen = (now - this.advancedAt) / (this.left - left);
      this.blockMs = this.blockMs === 0 ? seen : this.blockMs + SMOOTHING * (seen - this.blockMs);
      this.advancedAt = now;
    }
    this.left = left;
  }

  /** From the leader's last advance on. */
  get remainderMs(): number {
    return (this.left ?? 0) * this.blockMs;
  }

  /** `ownMs`: what computing the same blocks here would take. undefined: go on waiting. */
  over(now: number, ownMs: number): GaveUp | undefined {
    if (now >= this.deadlineAt) return 'deadline';
    if (now > this.advancedAt + this.slackMs + PATIENCE * this.remainderMs) return 'stalled';
    return this.remainderMs > this.slackMs + MOST_TIMES_OWN * ownMs ? 'slower' : undefined;
  }
}
