import { BLOCK_TOKENS, nextHash, toHex } from '@longshore/core';

/** The hash chain of one token sequence, extended as blocks complete. Hashes are kept as bytes and as hex (map keys). */
export class PrefixChain {
  readonly root: Uint8Array;
  private readonly digests: Uint8Array[] = [];
  private readonly names: string[] = [];

  constructor(root: Uint8Array) {
    this.root = root;
  }

  get length(): number {
    return this.names.length;
  }

  /** Hex hash of block `index`. */
  name(index: number): string | undefined {
    return this.names[index];
  }

  prefixNames(count: number): string[] {
    return this.names.slice(0, count);
  }

  digestRange(start: number, end: number): Uint8Array[] {
    return this.digests.slice(start, end);
  }

  /** Hash of the block before `index`: the root for block 0. */
  parentOf(index: number): Uint8Array {
    const parent = index === 0 ? this.root : this.digests[index - 1];
    if (parent === undefined) throw new RangeError(`block ${index} lies beyond the chain`);
    return parent;
  }

  /** Hashes every complete block of `tokens` not yet in the chain; `tokens` only ever grows. */
  extend(tokens: readonly number[]): void {
    for (let index = this.names.length; (index + 1) * BLOCK_TOKENS <= tokens.length; index++) {
      const digest = nextHash(this.parentOf(index), tokens, index * BLOCK_TOKENS, (index + 1) * BLOCK_TOKENS);
      this.digests.push(digest);
      this.names.push(toHex(digest));
    }
  }

  /** Hash of the partial block that ends at `end` (exclusive). */
  tailDigest(tokens: readonly number[], end: number): Uint8Array {
    const index = Math.floor(end / BLOCK_TOKENS);
    return nextHash(this.parentOf(index), tokens, index * BLOCK_TOKENS, end);
  }
}
