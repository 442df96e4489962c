/** What the triggers on kv_objects do in Postgres: held bytes for the quota, and billed bytes as events that are linear in time. */
export class MemoryLedger {
  private readonly held = new Map<string, number>();
  private readonly events = new Map<string, { at: number; delta: number }[]>();
  /** Byte-milliseconds of folded hours. */
  private readonly folded = new Map<string, number>();

  heldBytes(organizationId: string): number {
    return this.held.get(organizationId) ?? 0;
  }

  hold(organizationId: string, delta: number): void {
    this.held.set(organizationId, this.heldBytes(organizationId) + delta);
  }

  /** Ready bytes changed by `delta` at `at`, milliseconds. */
  bill(organizationId: string, at: number, delta: number): void {
    const events = this.events.get(organizationId);
    if (events) events.push({ at, delta });
    else this.events.set(organizationId, [{ at, delta }]);
  }

  /** Bytes that are billed now. */
  billedBytes(organizationId: string): number {
    return (this.events.get(organizationId) ?? []).reduce((sum, event) => sum + event.delta, 0);
  }

  /** From the beginning until `to`, milliseconds. */
  byteSeconds(organizationId: string, to: number): number {
    const events = this.events.get(organizationId) ?? [];
    const recent = events.reduce((sum, { at, delta }) => sum + delta * Math.max(0, to - at), 0);
    return (recent + (this.folded.get(organizationId) ?? 0)) / 1000;
  }

  /** Replaces the events before `horizon` by one. Returns how many organizations that concerned. */
  fold(horizon: number, limit: number): number {
    let organizations = 0;
    for (const [organizationId, events] of this.events) {
      const old = events.filter((event) => event.at < horizon);
      if (old.length < 2) continue;
      if (organizations++ === limit) return limit;
      const balance = old.reduce((sum, event) => sum + event.delta, 0);
      const area = old.reduce((sum, { at, delta }) => sum + delta * (horizon - at), 0);
      this.folded.set(organizationId, (this.folded.get(organizationId) ?? 0) + area);
      const rest = events.filter((event) => event.at >= horizon);
      this.events.set(organizationId, [{ at: horizon, delta: balance }, ...rest]);
    }
    return organizations;
  }
}
