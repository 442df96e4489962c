import { type Prioritized, PriorityHeap } from './priority-heap.ts';

/**
 * What a bounded tier holds, and what it gives up first: Greedy-Dual-Size-Frequency (L. Cherkasova, "Improving WWW Proxies Performance
 * with Greedy-Dual-Size-Frequency Caching Policy", HP Labs 1998, HPL-98-69). An object's priority is
 *
 *     H = L + uses · cost / bytes
 *
 * set when it is admitted and again at each use. `cost` is what its loss costs (milliseconds to compute its tokens again), `bytes`
 * what it occupies. L is the age of the tier: the largest priority that was ever given up. Since L only grows, an object that was used
 * often, long ago, sinks below the newer ones in time. Pure: times are given by the caller, in milliseconds.
 *
 * Bytes are reserved before they are written: `reserve` names the victims, whose bytes count until `left` says that they are gone;
 * only then `add` takes the newcomer's. So the sum of what is held, written and being deleted never exceeds the budget.
 */

export interface TierLimits {
  budgetBytes: number;
  /** Of the budget, what pins may hold at most. */
  pinnedBytes: number;
  /** How long an object stays after its last use. */
  ttlMs: number;
}

export interface Candidate {
  key: string;
  bytes: number;
  /** Milliseconds to compute again what the object holds. */
  cost: number;
}

interface Entry extends Candidate, Prioritized {
  uses: number;
  lastUsedAt: number;
  /** Holders that forbid its eviction: explicit pins, and reads in progress. */
  pins: number;
  reads: number;
  /** Only what is held is found; the bytes of what is being written, and of what is to be deleted, count too. */
  state: 'writing' | 'held' | 'leaving';
}

/** `no_room`: larger than what the budget leaves beside pins and reads in progress. */
export type Reservation = { admitted: true; victims: string[] } | { admitted: false; why: 'no_room' | 'less_valuable' };

export class TierIndex {
  private readonly limits: TierLimits;
  private readonly entries = new Map<string, Entry>();
  /** What may be evicted: neither pinned, read nor leaving. */
  private readonly heap = new PriorityHeap<Entry>();
  private used = 0;
  private leavingBytes = 0;
  private pinned = 0;
  private age = 0;

  constructor(limits: TierLimits) {
    this.limits = limits;
  }

  get bytes(): number {
    return this.used;
  }
  get pinnedBytes(): number {
    return this.pinned;
  }
  get count(): number {
    return this.entries.size;
  }

  has(key: string, now: number): boolean {
    const entry = this.entries.get(key);
    return entry?.state === 'held' && !this.isExpired(entry, now);
  }

  /** True also for what is being written or leaving: its bytes are there. */
  occupies(key: string): boolean {
    return this.entries.has(key);
  }

  /**
   * Makes room for an object that is not held. The victims are given up in the order of their priority; each must be deleted and
   * `left` called for it before `add`. An object that is worth less than what it would displace is refused, and ages the tier by that.
   */
  reserve(candidate: Candidate): Reservation {
    if (candidate.bytes > this.limits.budgetBytes) return { admitted: false, why: 'no_room' };
    const worth = this.priorityOf(candidate, 1);
    const chosen: Entry[] = [];
    let free = this.limits.budgetBytes - this.used + this.leavingBytes;
    while (free < candidate.bytes) {
      const entry = this.heap.peek();
      if (!entry || entry.priority > worth) {
        for (const spared of chosen) this.heap.push(spared);
        if (entry) this.age = Math.max(this.age, worth);
        return { admitted: false, why: entry ? 'less_valuable' : 'no_room' };
      }
      this.heap.remove(entry);
      chosen.push(entry);
      free += entry.bytes;
    }
    for (const entry of chosen) {
      this.startLeaving(entry);
      this.age = Math.max(this.age, entry.priority);
    }
    return { admitted: true, victims: chosen.map((entry) => entry.key) };
  }

  /** Held at once. False when there is no room (victims of `reserve` have not left, or another took it), or the key is occupied. */
  add(candidate: Candidate, now: number): boolean {
    if (!this.begin(candidate, now)) return false;
    this.complete(candidate.key, now);
    return true;
  }

  /** As `add`, but not found before `complete`; `left` gives it up. */
  begin(candidate: Candidate, now: number): boolean {
    if (this.entries.has(candidate.key) || this.used + candidate.bytes > this.limits.budgetBytes) return false;
    const { key, bytes, cost } = candidate;
    const fresh = { uses: 1, lastUsedAt: now, pins: 0, reads: 0, heapIndex: -1 };
    this.entries.set(key, { key, bytes, cost, priority: 0, state: 'writing', ...fresh });
    this.used += bytes;
    return true;
  }

  /** What `begin` announced is whole. */
  complete(key: string, now: number): void {
    const entry = this.entries.get(key);
    if (entry?.state !== 'writing') throw new Error(`${key} is not being written`);
    entry.state = 'held';
    entry.lastUsedAt = now;
    this.restoreToHeap(entry);
  }

  /** A use: raises the priority and slides the expiry. */
  touch(key: string, now: number): void {
    const entry = this.entries.get(key);
    if (entry?.state !== 'held') return;
    entry.uses++;
    entry.lastUsedAt = Math.max(entry.lastUsedAt, now);
    this.refresh(entry);
  }

  /** While it is read an object is not evicted. undefined: it is not there; else call what is returned when the read has ended. */
  beginRead(key: string, now: number): (() => void) | undefined {
    if (!this.has(key, now)) return undefined;
    const entry = this.entries.get(key)!;
    entry.reads++;
    this.heap.remove(entry);
    return () => {
      entry.reads--;
      this.restoreToHeap(entry);
    };
  }

  /** Forbids eviction until `unpin`. False: not held, or pins would hold more than they may. */
  pin(key: string, now: number): boolean {
    if (!this.has(key, now)) return false;
    const entry = this.entries.get(key)!;
    if (entry.pins === 0 && this.pinned + entry.bytes > this.limits.pinnedBytes) return false;
    if (entry.pins === 0) this.pinned += entry.bytes;
    entry.pins++;
    this.heap.remove(entry);
    return true;
  }

  unpin(key: string): void {
    const entry = this.entries.get(key);
    if (!entry || entry.pins === 0) return;
    entry.pins--;
    if (entry.pins === 0) this.pinned -= entry.bytes;
    this.restoreToHeap(entry);
  }

  /** It is to be deleted whatever holds it; its bytes count until `left`. False: not held. */
  leave(key: string): boolean {
    const entry = this.entries.get(key);
    if (entry?.state !== 'held') return false;
    this.heap.remove(entry);
    this.startLeaving(entry);
    return true;
  }

  /** The bytes of something that was leaving, or was never completed, are gone. */
  left(key: string): void {
    const entry = this.entries.get(key);
    if (!entry || entry.state === 'held') throw new Error(`${key} left without leaving`);
    this.entries.delete(key);
    this.used -= entry.bytes;
    if (entry.state === 'leaving') this.leavingBytes -= entry.bytes;
    if (entry.pins > 0) this.pinned -= entry.bytes;
  }

  /** Unpinned objects whose time is over, at most `limit`. */
  expired(now: number, limit: number): string[] {
    const keys: string[] = [];
    for (const entry of this.entries.values()) {
      if (keys.length >= limit) break;
      if (entry.state === 'held' && this.isExpired(entry, now)) keys.push(entry.key);
    }
    return keys;
  }

  /** Held keys in the order of their arrival, starting after `after` (from the front when that is gone), at most `limit`. */
  keys(after: string | undefined, limit: number): string[] {
    const all = [...this.entries.values()].filter((entry) => entry.state === 'held').map((entry) => entry.key);
    const start = after === undefined ? 0 : all.indexOf(after) + 1;
    return all.slice(start, start + limit);
  }

  /** Throws an Error that names what is wrong. */
  checkIntegrity(): void {
    this.heap.checkIntegrity();
    let used = 0;
    let pinned = 0;
    let evictable = 0;
    let leaving = 0;
    for (const [key, entry] of this.entries) {
      if (entry.key !== key || entry.bytes < 0) throw new Error(`entry ${key} is malformed`);
      used += entry.bytes;
      if (entry.pins > 0) pinned += entry.bytes;
      const free = entry.pins === 0 && entry.reads === 0 && entry.state === 'held';
      if (entry.state === 'leaving') leaving += entry.bytes;
      if (free) evictable++;
      if (free !== entry.heapIndex >= 0) throw new Error(`entry ${key} is ${free ? 'not ' : ''}in the heap`);
    }
    if (used !== this.used) throw new Error(`entries hold ${used} bytes, counted are ${this.used}`);
    if (used > this.limits.budgetBytes)
      throw new Error(`${used} bytes exceed the budget of ${this.limits.budgetBytes}`);
    if (pinned !== this.pinned) throw new Error(`pins hold ${pinned} bytes, counted are ${this.pinned}`);
    if (leaving !== this.leavingBytes) throw new Error(`${leaving} bytes leave, counted are ${this.leavingBytes}`);
    if (evictable !== this.heap.size) throw new Error(`${this.heap.size} in the heap, ${evictable} may be evicted`);
  }

  private startLeaving(entry: Entry): void {
    entry.state = 'leaving';
    this.leavingBytes += entry.bytes;
  }

  private isExpired(entry: Entry, now: number): boolean {
    return entry.pins === 0 && now - entry.lastUsedAt >= this.limits.ttlMs;
  }

  private priorityOf(candidate: Candidate, uses: number): number {
    return this.age + (uses * candidate.cost) / Math.max(1, candidate.bytes);
  }

  private refresh(entry: Entry): void {
    entry.priority = this.priorityOf(entry, entry.uses);
    if (entry.heapIndex >= 0) this.heap.moved(entry);
  }

  private restoreToHeap(entry: Entry): void {
    if (entry.pins > 0 || entry.reads > 0 || entry.state !== 'held') return;
    if (entry.heapIndex < 0) this.heap.push(entry);
    this.refresh(entry);
  }
}
