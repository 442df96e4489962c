import { faultOf } from '../fault.ts';
import type { StoreFault } from '../outcome.ts';
import {
  type ObjectInfo,
  type ObjectStore,
  type ReadOptions,
  StoreError,
  type Tier,
  type TierStats,
} from '../ports.ts';

export type TierName = ObjectStore['tier'];

export interface TieredObjectsOptions {
  /** Holds every object; what it does not hold does not exist. */
  store: ObjectStore;
  /** Nearest first. */
  tiers: readonly Tier[];
  /** Milliseconds to compute again what this sealed object holds; undefined: not one of ours, not worth keeping. */
  costOf: (body: Uint8Array) => number | undefined;
  /** Publishes fill the near tiers too, not only restores. */
  writeThrough: boolean;
  onFault: (fault: StoreFault) => void;
}

/** After these the reader no longer waits, or the target may still be written to: another tier cannot take over. */
const ENDS_READING: readonly string[] = ['cancelled', 'timeout'];

/** Keys that one pass of `reconcile` asks about, in each tier. */
const RECONCILE_KEYS = 500;

/**
 * The object store behind its nearer tiers. Reads go to the nearest tier that has the object; what was read from afar, and verified by its
 * reader, is offered to the nearer ones, which take it in the background. A tier that fails is a miss. Objects are immutable and
 * keys never reused, so a near copy can be superfluous but never outdated.
 */
export class TieredObjects implements ObjectStore {
  readonly tier: TierName;
  private readonly options: TieredObjectsOptions;
  /** Per tier, the keys that are being filled: one fill each at a time. */
  private readonly filling = new Map<Tier, Map<string, Promise<unknown>>>();
  private readonly cursors = new Map<Tier, string>();

  constructor(options: TieredObjectsOptions) {
    this.options = options;
    this.tier = options.store.tier;
    for (const tier of options.tiers) this.filling.set(tier, new Map());
  }

  /** The nearest tier that has the object now; the store's when none has. At once: for estimates before a read. */
  tierOf(key: string): TierName {
    return this.options.tiers.find((tier) => tier.has(key))?.name ?? this.tier;
  }

  async readInto(key: string, target: Uint8Array, options?: ReadOptions): Promise<void> {
    await this.readFrom(key, target, options);
  }

  /** As readInto, and resolves to the tier that served. */
  async readFrom(key: string, target: Uint8Array, options: ReadOptions = {}): Promise<TierName> {
    const { onProgress } = options;
    let reported = 0;
    let readerError: unknown;
    // A near tier that fails half way is followed by the next one from the start: the reader sees progress that only grows.
    const growing = onProgress && {
      onProgress(filled: number) {
        if (filled <= reported) return;
        reported = filled;
        try {
          onProgress(filled);
        } catch (error) {
          readerError = error;
          throw error;
        }
      },
    };
    for (const tier of this.options.tiers) {
      try {
        if (await tier.readInto(key, target, { ...options, ...growing })) return tier.name;
      } catch (error) {
        const ends = error === readerError || (error instanceof StoreError && ENDS_READING.includes(error.kind));
        if (ends) throw error;
        this.options.onFault(faultOf(error));
      }
    }
    await this.options.store.readInto(key, target, { ...options, ...growing });
    return this.tier;
  }

  /** Whether a tier nearer than `servedBy` would take a copy of this object now. */
  wants(key: string, bytes: number, servedBy: TierName): boolean {
    const { tiers } = this.options;
    const far = tiers.findIndex((tier) => tier.name === servedBy);
    const nearer = far < 0 ? tiers : tiers.slice(0, far);
    return nearer.some((tier) => !this.filling.get(tier)!.has(key) && tier.accepts(key, bytes));
  }

  /** A whole object that its reader verified and that `servedBy` gave: the nearer tiers may copy it before this returns. */
  offer(key: string, body: Uint8Array, servedBy: TierName): void {
    const { tiers } = this.options;
    const far = tiers.findIndex((tier) => tier.name === servedBy);
    this.fill(far < 0 ? tiers : tiers.slice(0, far), key, body);
  }

  private fill(tiers: readonly Tier[], key: string, body: Uint8Array): void {
    const takers = tiers.filter((tier) => !this.filling.get(tier)!.has(key) && tier.accepts(key, body.length));
    if (takers.length === 0) return;
    const costMs = this.options.costOf(body);
    if (costMs === undefined) return;
    const copy = Buffer.allocUnsafeSlow(body.length);
    copy.set(body);
    for (const tier of takers) {
      const running = this.filling.get(tier)!;
      const done = tier
        .fill(key, copy, costMs)
        .catch((error) => this.options.onFault(faultOf(error)))
        .finally(() => running.delete(key));
      running.set(key, done);
    }
  }

  /** Deletes near copies that turned out to be bad; true when there was one, so that reading again asks a farther tier. */
  async discard(key: string): Promise<boolean> {
    const holders = this.options.tiers.filter((tier) => tier.has(key));
    await this.forget(key);
    return holders.length > 0;
  }

  private async forget(key: string): Promise<void> {
    for (const tier of this.options.tiers) {
      await this.filling.get(tier)!.get(key);
      await tier.remove(key);
    }
  }

  /** To the store only: what is read back to verify it must not come from a near copy. */
  put(key: string, body: Uint8Array, crc32: number): Promise<void> {
    return this.options.store.put(key, body, crc32);
  }

  /** As readInto, from the store whatever the tiers hold. */
  readStored(key: string, target: Uint8Array): Promise<void> {
    return this.options.store.readInto(key, target);
  }

  /** A whole object that was put and verified: with write-through the tiers copy it before this returns. */
  published(key: string, body: Uint8Array): void {
    if (this.options.writeThrough) this.fill(this.options.tiers, key, body);
  }

  /** Of the farthest copy: the one that counts. */
  head(key: string): Promise<ObjectInfo | undefined> {
    return this.options.store.head(key);
  }

  list(prefix: string, after: string | undefined, limit: number): Promise<ObjectInfo[]> {
    return this.options.store.list(prefix, after, limit);
  }

  /** Near copies go first: once it resolves nothing of the object is left here. */
  async delete(key: string): Promise<void> {
    await this.forget(key);
    await this.options.store.delete(key);
  }

  /** Pins the object in every near tier that has it and may pin it; how many do. */
  pin(key: string): number {
    return this.options.tiers.filter((tier) => tier.pin(key)).length;
  }

  unpin(key: string): void {
    for (const tier of this.options.tiers) tier.unpin(key);
  }

  /** One bounded pass over the near tiers: expires, and forgets what `findGone` says is deleted. Returns how many objects left. */
  async reconcile(findGone: (keys: readonly string[]) => Promise<string[]>): Promise<number> {
    let count = 0;
    for (const tier of this.options.tiers) {
      count += await tier.expire(RECONCILE_KEYS);
      const page = tier.keys(this.cursors.get(tier), RECONCILE_KEYS);
      if (page.length < RECONCILE_KEYS) this.cursors.delete(tier);
      else this.cursors.set(tier, page.at(-1)!);
      const gone = page.length === 0 ? [] : await findGone(page);
      for (const key of gone) await tier.remove(key);
      count += gone.length;
    }
    return count;
  }

  /** Resolves when no fill is running. */
  async idle(): Promise<void> {
    for (const running of this.filling.values()) while (running.size > 0) await Promise.all(running.values());
  }

  stats(): TierStats[] {
    return this.options.tiers.map((tier) => tier.stats());
  }

  checkIntegrity(): void {
    for (const tier of this.options.tiers) tier.checkIntegrity();
  }

  /** The tiers; the store is closed by whoever made it. */
  async close(): Promise<void> {
    for (const tier of this.options.tiers) await tier.close();
  }
}
