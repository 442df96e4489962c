/**
 * What prefilling costs here, learned from the steps that ran: seconds = perToken * n + perPair * pairs, pairs = the causal
 * (query, key) pairs n * (position + n / 2). Least squares over both with exponential forgetting; until two observations exist,
 * the given prior speaks.
 */
const FORGET = 0.98;
/** Keeps the normal equations solvable when all steps look alike: a small weight on the prior. */
const RIDGE = 1e-3;
/** Shorter steps measure what a step costs, not what a token costs. */
const MIN_OBSERVED_TOKENS = 64;
/** Pairs are scaled to the size of tokens, so that the two unknowns are of one magnitude. */
const PAIR_SCALE = 1 / 4096;

export class PrefillSpeed {
  private readonly priorPerToken: number;
  private nn = 0;
  private np = 0;
  private pp = 0;
  private nt = 0;
  private pt = 0;

  constructor(priorTokensPerSecond: number) {
    this.priorPerToken = 1 / priorTokensPerSecond;
  }

  /** A step took `ms` for `count` prefill tokens from `position`. */
  observe(position: number, count: number, ms: number): void {
    if (count < MIN_OBSERVED_TOKENS || !(ms > 0)) return;
    const seconds = ms / 1000;
    const pairs = count * (position + count / 2) * PAIR_SCALE;
    // Relative errors count: a long step must not outweigh many short ones.
    const weight = 1 / (count * count);
    this.nn = this.nn * FORGET + weight * count * count;
    this.np = this.np * FORGET + weight * count * pairs;
    this.pp = this.pp * FORGET + weight * pairs * pairs;
    this.nt = this.nt * FORGET + weight * count * seconds;
    this.pt = this.pt * FORGET + weight * pairs * seconds;
  }

  /** Estimated milliseconds to prefill tokens [start, end). */
  estimateMs(start: number, end: number): number {
    if (end <= start) return 0;
    const { perToken, perPair } = this.solve();
    const count = end - start;
    return 1000 * (perToken * count + perPair * count * ((start + end) / 2) * PAIR_SCALE);
  }

  /** At the start of a context. */
  get tokensPerSecond(): number {
    return (1000 / this.estimateMs(0, 512)) * 512;
  }

  private solve(): { perToken: number; perPair: number } {
    const nn = this.nn + RIDGE;
    const pp = this.pp + RIDGE;
    const nt = this.nt + RIDGE * this.priorPerToken;
    const determinant = nn * pp - this.np * this.np;
    const perToken = (nt * pp - this.pt * this.np) / determinant;
    const perPair = (this.pt * nn - nt * this.np) / determinant;
    if (perPair < 0) return { perToken: nt / nn, perPair: 0 };
    if (perToken <= 0) return { perToken: 0, perPair: this.pt / pp };
    return { perToken, perPair };
  }
}
