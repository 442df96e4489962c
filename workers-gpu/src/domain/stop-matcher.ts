export interface StopResult {
  /** Text that may be sent: it can no longer become part of a stop string. */
  text: string;
  /** The stop string that ended the text. */
  stop?: string;
}

/**
 * Finds the first stop string in text that arrives in pieces. Text that could still grow into a stop string is held back: at
 * most the longest stop string less one character.
 */
export class StopMatcher {
  private readonly stops: readonly string[];
  private held = '';

  constructor(stops: readonly string[]) {
    this.stops = stops.filter((stop) => stop.length > 0);
  }

  get heldText(): string {
    return this.held;
  }

  push(piece: string): StopResult {
    const text = this.held + piece;
    const found = this.earliest(text);
    if (found !== undefined) {
      this.held = '';
      return { text: text.slice(0, found.at), stop: found.stop };
    }
    const keep = this.longestHold(text);
    this.held = keep === 0 ? '' : text.slice(-keep);
    return { text: keep === 0 ? text : text.slice(0, -keep) };
  }

  /** The text ended otherwise: what was held back is text after all. */
  flush(): string {
    const text = this.held;
    this.held = '';
    return text;
  }

  /** The one that ends first; of those, the longest: independent of how the text was cut into pieces. */
  private earliest(text: string): { at: number; stop: string } | undefined {
    let best: { at: number; stop: string } | undefined;
    for (const stop of this.stops) {
      const at = text.indexOf(stop);
      if (at < 0) continue;
      const end = at + stop.length;
      const bestEnd = best === undefined ? Number.POSITIVE_INFINITY : best.at + best.stop.length;
      if (end < bestEnd || (end === bestEnd && at < best!.at)) best = { at, stop };
    }
    return best;
  }

  private longestHold(text: string): number {
    let longest = 0;
    for (const stop of this.stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
        if (text.endsWith(stop.slice(0, length))) longest = length;
      }
    }
    return longest;
  }
}
