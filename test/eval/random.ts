/** Deterministic draws: the same seed gives the same evaluation on every machine. */
export class Random {
  private state: number;

  /** `seed`: any text, e.g. "1/kv_retrieval/8192/0". */
  constructor(seed: string) {
    // FNV-1a, so that similar seeds start far apart.
    let hash = 0x811c9dc5;
    for (let index = 0; index < seed.length; index++) hash = Math.imul(hash ^ seed.charCodeAt(index), 0x01000193);
    this.state = hash >>> 0;
  }

  /** In [0, 1). Mulberry32. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let x = this.state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number in [0, limit). */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  text(length: number, alphabet: string): string {
    return Array.from({ length }, () => alphabet[this.below(alphabet.length)]).join('');
  }

  shuffle<T>(values: readonly T[]): T[] {
    const shuffled = [...values];
    for (let index = shuffled.length - 1; index > 0; index--) {
      const other = this.below(index + 1);
      [shuffled[index], shuffled[other]] = [shuffled[other]!, shuffled[index]!];
    }
    return shuffled;
  }

  /** `count` different texts. Throws when `draw` does not yield that many. */
  distinct(count: number, draw: () => string): string[] {
    const found = new Set<string>();
    for (let tries = 0; found.size < count; tries++) {
      if (tries > 100 * count + 1000) throw new Error(`no ${count} different texts in ${tries} draws`);
      found.add(draw());
    }
    return [...found];
  }
}
