import { equalBytes, toHex } from '@longshore/core';
import { LEASE_HASH_BYTES, type LeaseClaim, type LeaseHolder, type LeaseProgress } from '@longshore/db';

interface Row extends Omit<LeaseHolder, 'expiresInMs'> {
  organizationId: string;
  expiresAt: number;
}

/** Leases in this process's memory, with the rules of db/src/queries/leases.ts; `now` in milliseconds. */
export class MemoryLeases {
  private readonly rows = new Map<string, Row>();
  private readonly now: () => number;

  constructor(now: () => number) {
    this.now = now;
  }

  acquire(claim: LeaseClaim): 'acquired' | LeaseHolder {
    const { hashes, firstBlock, organizationId, workerId, epoch, ttlMs } = claim;
    const holder = this.observe(organizationId, hashes, firstBlock);
    if (holder) return holder;
    const hash = hashes[firstBlock]!;
    const chain = Buffer.concat(hashes.slice(firstBlock).map((one) => one.subarray(0, LEASE_HASH_BYTES)));
    const progress = { computedBlocks: firstBlock, blockMs: undefined };
    const expiresAt = this.now() + ttlMs;
    this.rows.set(toHex(hash), { hash, workerId, epoch, organizationId, firstBlock, chain, ...progress, expiresAt });
    return 'acquired';
  }

  renew(claim: LeaseClaim, progress: LeaseProgress): boolean {
    const row = this.held(claim);
    if (row) Object.assign(row, progress, { expiresAt: this.now() + claim.ttlMs });
    return row !== undefined;
  }

  release(claim: LeaseClaim): void {
    const row = this.held(claim);
    if (row) this.rows.delete(toHex(row.hash));
  }

  observe(organizationId: string, hashes: readonly Uint8Array[], index: number): LeaseHolder | undefined {
    const mark = hashes[index]!.subarray(0, LEASE_HASH_BYTES);
    for (const hash of hashes.slice(0, index + 1)) {
      const row = this.rows.get(toHex(hash));
      if (row?.organizationId !== organizationId || row.expiresAt <= this.now() || row.firstBlock > index) continue;
      const start = (index - row.firstBlock) * LEASE_HASH_BYTES;
      if (!equalBytes(row.chain.subarray(start, start + LEASE_HASH_BYTES), mark)) continue;
      const { organizationId: _, expiresAt, ...holder } = row;
      return { ...holder, expiresInMs: expiresAt - this.now() };
    }
    return undefined;
  }

  /** Removes those that ran out a minute ago. */
  deleteStale(limit: number): number {
    const stale = [...this.rows].filter(([, row]) => row.expiresAt < this.now() - 60_000).slice(0, limit);
    for (const [hash] of stale) this.rows.delete(hash);
    return stale.length;
  }

  private held({ hashes, firstBlock, workerId, epoch }: LeaseClaim): Row | undefined {
    const row = this.rows.get(toHex(hashes[firstBlock]!));
    return row?.workerId === workerId && row.epoch === epoch ? row : undefined;
  }
}
