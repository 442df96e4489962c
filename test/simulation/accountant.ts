import type { MemoryChains } from '../../workers-gpu/src/kv/adapters/memory-chains.ts';

/**
 * Bills by looking: whenever time passes it adds up, object by object, what is stored and readable, without asking the ledger. An
 * object that expires in between counts until then.
 */
export class Accountant {
  private readonly chains: MemoryChains;
  /** Byte-milliseconds by organization. */
  private readonly areas = new Map<string, number>();

  constructor(chains: MemoryChains) {
    this.chains = chains;
  }

  /** Nothing changes between `from` and `to`, milliseconds. */
  pass(from: number, to: number): void {
    for (const object of this.chains.objects.values()) {
      if (object.state !== 'ready') continue;
      const until = object.pins.size > 0 ? to : Math.min(to, object.expiresAt);
      if (until <= from) continue;
      const area = object.storedBytes * (until - from);
      this.areas.set(object.organizationId, (this.areas.get(object.organizationId) ?? 0) + area);
    }
  }

  byteSeconds(organizationId: string): number {
    return (this.areas.get(organizationId) ?? 0) / 1000;
  }
}
