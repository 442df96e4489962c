import { assertInvariant } from './invariant.ts';

/**
 * Owner of the device's physical KV blocks: reference counts, the prefix map (chain hash -> block that holds it), and a
 * least-recently-used order over the blocks that are cached but referenced by no one. A block is in exactly one place:
 *
 *   free  ->  referenced  ->  cached (hash known, no reference, evictable)  ->  free or referenced again
 *
 * A shared (hashed, complete) block is never written again, so no copy-on-write exists. A session's partial last block may
 * be kept under a hash too; whoever continues it takes it out of the map first (`takePartial`) and owns it alone.
 */
export class BlockManager {
  readonly capacity: number;
  private readonly references: Uint32Array;
  private readonly hashOf: Array<string | undefined>;
  private readonly holder = new Map<string, number>();
  private readonly free: number[] = [];
  /** Insertion order is eviction order. */
  private readonly cached = new Set<number>();
  private evictions = 0;

  constructor(capacity: number) {
    assertInvariant(Number.isInteger(capacity) && capacity > 0, 'a block pool needs at least one block');
    this.capacity = capacity;
    this.references = new Uint32Array(capacity);
    this.hashOf = new Array(capacity).fill(undefined);
    for (let block = capacity - 1; block >= 0; block--) this.free.push(block);
  }

  /** Blocks that `allocate` can give: free ones and cached ones that it may evict. */
  get available(): number {
    return this.free.length + this.cached.size;
  }

  get cachedCount(): number {
    return this.cached.size;
  }

  get evictionCount(): number {
    return this.evictions;
  }

  /** `count` blocks with one reference each, evicting the least recently used cached ones; undefined when too few exist. */
  allocate(count: number): number[] | undefined {
    if (count > this.available) return undefined;
    const blocks: number[] = [];
    while (blocks.length < count) {
      const block = this.free.pop() ?? this.evictOldest();
      this.references[block] = 1;
      blocks.push(block);
    }
    return blocks;
  }

  private evictOldest(): number {
    const [block] = this.cached;
    assertInvariant(block !== undefined, 'nothing to evict');
    this.cached.delete(block);
    this.forgetHash(block);
    this.evictions++;
    return block;
  }

  private forgetHash(block: number): void {
    const hash = this.hashOf[block];
    if (hash === undefined) return;
    this.hashOf[block] = undefined;
    this.holder.delete(hash);
  }

  /** The blocks that hold the longest run of `hashes` from the front. Takes no reference. */
  residentPrefix(hashes: readonly string[]): number[] {
    const blocks: number[] = [];
    for (const hash of hashes) {
      const block = this.holder.get(hash);
      if (block === undefined) break;
      blocks.push(block);
    }
    return blocks;
  }

  /** How many of these blocks `allocate` counts as available now, and will no longer after `retain`. */
  unreferencedAmong(blocks: readonly number[]): number {
    return blocks.filter((block) => this.references[block] === 0).length;
  }

  retain(blocks: readonly number[]): void {
    for (const block of blocks) {
      this.checkRange(block);
      if (this.references[block] === 0) {
        assertInvariant(this.cached.delete(block), `block ${block} is free: it cannot be retained`);
      }
      this.references[block]!++;
    }
  }

  /** Drops one reference of each, last block first, so that a chain's children are evicted before their parents. */
  release(blocks: readonly number[]): void {
    for (let index = blocks.length - 1; index >= 0; index--) {
      const block = blocks[index]!;
      this.checkRange(block);
      assertInvariant(this.references[block]! > 0, `block ${block} is released more often than retained`);
      if (--this.references[block]! > 0) continue;
      if (this.hashOf[block] === undefined) this.free.push(block);
      else this.cached.add(block);
    }
  }

  /** Says what a referenced block now holds. False when another block already holds it: this one stays private. */
  register(block: number, hash: string): boolean {
    this.checkRange(block);
    assertInvariant(this.references[block]! > 0, `block ${block} is registered without a reference`);
    if (this.holder.get(hash) === block) return true;
    if (this.holder.has(hash)) return false;
    assertInvariant(this.hashOf[block] === undefined, `block ${block} already holds another hash`);
    this.hashOf[block] = hash;
    this.holder.set(hash, block);
    return true;
  }

  /** Hands over the block cached under `hash` if no one refers to it, with one reference and out of the map: it may be written. */
  takePartial(hash: string): number | undefined {
    const block = this.holder.get(hash);
    if (block === undefined || this.references[block] !== 0) return undefined;
    this.cached.delete(block);
    this.forgetHash(block);
    this.references[block] = 1;
    return block;
  }

  holds(hash: string): boolean {
    return this.holder.has(hash);
  }

  referencesOf(block: number): number {
    this.checkRange(block);
    return this.references[block]!;
  }

  private checkRange(block: number): void {
    assertInvariant(Number.isInteger(block) && block >= 0 && block < this.capacity, `block ${block} does not exist`);
  }

  /** Throws when the structure contradicts itself; for tests and idle moments. O(capacity). */
  checkIntegrity(): void {
    const free = new Set(this.free);
    assertInvariant(free.size === this.free.length, 'a block is free twice');
    let referenced = 0;
    for (let block = 0; block < this.capacity; block++) {
      const used = this.references[block]! > 0;
      if (used) referenced++;
      const places = Number(free.has(block)) + Number(this.cached.has(block)) + Number(used);
      assertInvariant(places === 1, `block ${block} is in ${places} places`);
      const hash = this.hashOf[block];
      if (hash !== undefined) assertInvariant(this.holder.get(hash) === block, `the map lost block ${block}`);
      assertInvariant(!(free.has(block) && hash !== undefined), `free block ${block} has a hash`);
      assertInvariant(!(this.cached.has(block) && hash === undefined), `cached block ${block} has no hash`);
    }
    for (const [hash, block] of this.holder) assertInvariant(this.hashOf[block] === hash, `hash ${hash} is stale`);
    assertInvariant(referenced + this.available === this.capacity, 'blocks were lost');
  }
}
