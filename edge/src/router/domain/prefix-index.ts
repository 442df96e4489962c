import type { WorkerIncarnation } from '../ports.ts';

/** Hash entries kept; the least recently used go first. At about 200 bytes each this is 13 MB. */
const MAX_ENTRIES = 65_536;
/** Workers remembered per prefix: a hot one is held by several. */
const MAX_HOLDERS = 3;

/** Which workers hold which prefix, newest holder first. A hint: workers evict without telling. */
export class PrefixIndex {
  private readonly holders = new Map<string, WorkerIncarnation[]>();
  private readonly maxEntries: number;

  constructor(maxEntries: number = MAX_ENTRIES) {
    this.maxEntries = maxEntries;
  }

  get size(): number {
    return this.holders.size;
  }

  record(chain: readonly string[], worker: WorkerIncarnation): void {
    for (const hash of chain) {
      const others = (this.holders.get(hash) ?? []).filter((holder) => holder.workerId !== worker.workerId);
      this.holders.delete(hash);
      this.holders.set(hash, [{ workerId: worker.workerId, epoch: worker.epoch }, ...others].slice(0, MAX_HOLDERS));
    }
    for (const oldest of this.holders.keys()) {
      if (this.holders.size <= this.maxEntries) break;
      this.holders.delete(oldest);
    }
  }

  /** Worker id -> number of leading hashes of `chain` that it holds; entries of another epoch than `epochs` says are ignored. */
  match(chain: readonly string[], epochs: ReadonlyMap<string, string>): Map<string, number> {
    const longest = new Map<string, number>();
    for (let count = chain.length; count > 0 && longest.size < epochs.size; count--) {
      for (const { workerId, epoch } of this.holders.get(chain[count - 1]!) ?? []) {
        if (epochs.get(workerId) === epoch && !longest.has(workerId)) longest.set(workerId, count);
      }
    }
    return longest;
  }
}
