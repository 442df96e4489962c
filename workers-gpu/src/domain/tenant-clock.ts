/**
 * Start-time fair queueing over organizations: each has a virtual time that advances by the tokens it was served, and the one
 * that is furthest behind goes first. An organization that was idle starts at the present, so it can neither save up credit
 * nor be punished for having been alone; between equals the one not served for longest goes first. State is dropped once an
 * organization has nothing queued.
 */
export class TenantClock {
  private readonly served = new Map<string, { time: number; turn: number }>();
  private present = 0;
  private turns = 0;

  /** Called with every organization that has work; forgets the others. */
  retainActive(active: Iterable<string>): void {
    const names = new Set(active);
    for (const name of this.served.keys()) if (!names.has(name)) this.served.delete(name);
    for (const name of names) if (!this.served.has(name)) this.served.set(name, { time: this.present, turn: 0 });
  }

  time(organizationId: string): number {
    return this.served.get(organizationId)?.time ?? this.present;
  }

  /** True when `a` goes before `b`. */
  precedes(a: string, b: string): boolean {
    const difference = this.time(a) - this.time(b);
    if (difference !== 0) return difference < 0;
    return (this.served.get(a)?.turn ?? 0) < (this.served.get(b)?.turn ?? 0);
  }

  charge(organizationId: string, tokens: number): void {
    this.served.set(organizationId, { time: this.time(organizationId) + tokens, turn: ++this.turns });
    this.present = Math.min(...[...this.served.values()].map((one) => one.time));
  }
}
