import { TierIndex } from '../domain/tier-index.ts';
import { StoreError, type Tier } from '../ports.ts';
import { tierCounters, tierStats } from './tier-counters.ts';

export interface HostTierOptions {
  budgetBytes: number;
  /** Of the budget, what pins may hold at most. Default: half. */
  pinnedBytes?: number;
  /** How long an object stays after its last use. */
  ttlMs: number;
  /** Milliseconds, monotonic. */
  now: () => number;
}

/** Sealed objects in this process's memory; gone with it. Bytes are the objects' own; each costs about 200 bytes more. */
export function createHostTier(options: HostTierOptions): Tier {
  const { budgetBytes, ttlMs, now, pinnedBytes = Math.floor(budgetBytes / 2) } = options;
  const index = new TierIndex({ budgetBytes, pinnedBytes, ttlMs });
  const bodies = new Map<string, Uint8Array>();
  const counters = tierCounters();

  function drop(key: string): boolean {
    if (!index.leave(key)) return false;
    forget(key);
    return true;
  }
  function forget(key: string): void {
    bodies.delete(key);
    index.left(key);
  }

  return {
    name: 'host',
    has: (key) => index.has(key, now()),
    async readInto(key, target, { offset = 0, signal, onProgress } = {}) {
      if (signal?.aborted) throw new StoreError('cancelled', 'reading was cancelled');
      const body = index.has(key, now()) ? bodies.get(key) : undefined;
      if (!body || offset + target.length > body.length) {
        counters.misses++;
        return false;
      }
      target.set(offset === 0 && target.length === body.length ? body : body.subarray(offset, offset + target.length));
      index.touch(key, now());
      counters.hits++;
      counters.servedBytes += target.length;
      onProgress?.(target.length);
      return true;
    },
    accepts: (key, bytes) => bytes <= budgetBytes && !index.has(key, now()),
    async fill(key, body, costMs) {
      if (index.has(key, now())) return true;
      drop(key);
      const candidate = { key, bytes: body.length, cost: costMs };
      const reservation = index.reserve(candidate);
      if (!reservation.admitted) {
        counters.refusals++;
        return false;
      }
      for (const victim of reservation.victims) forget(victim);
      counters.evictions += reservation.victims.length;
      index.add(candidate, now());
      bodies.set(key, body);
      counters.fills++;
      counters.filledBytes += body.length;
      return true;
    },
    async remove(key) {
      drop(key);
    },
    pin: (key) => index.pin(key, now()),
    unpin: (key) => index.unpin(key),
    keys: (after, limit) => index.keys(after, limit),
    async expire(limit) {
      const gone = index.expired(now(), limit).filter(drop);
      counters.expirations += gone.length;
      return gone.length;
    },
    stats: () => tierStats({ name: 'host', budgetBytes }, index, counters),
    checkIntegrity() {
      index.checkIntegrity();
      let bytes = 0;
      for (const body of bodies.values()) bytes += body.length;
      if (bytes !== index.bytes) throw new Error(`memory holds ${bytes} bytes, the index ${index.bytes}`);
    },
    async close() {
      for (const key of [...bodies.keys()]) drop(key);
    },
  };
}
