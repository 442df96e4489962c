import { toHex } from '@longshore/core';
import type { LeaseClaim, LeaseHolder } from '@longshore/db';

/** Leases in this process's memory; `now` in milliseconds. */
export class MemoryLeases {
  private readonly rows = new Map<string, LeaseClaim & { expiresAt: number }>();
  private readonly now: () => number;

  constructor(now: () => number) {
    this.now = now;
  }

  acquire(claim: LeaseClaim): 'acquired' | LeaseHolder {
    const holder = this.observe(claim.hash);
    if (holder) return holder;
    this.rows.set(toHex(claim.hash), { ...claim, expiresAt: this.now() + claim.ttlMs });
    return 'acquired';
  }

  renew(claim: LeaseClaim): boolean {
    const row = this.held(claim);
    if (row) this.rows.set(toHex(claim.hash), { ...row, ...claim, expiresAt: this.now() + claim.ttlMs });
    return row !== undefined;
  }

  release(claim: Omit<LeaseClaim, 'ttlMs'>): void {
    if (this.held(claim)) this.rows.delete(toHex(claim.hash));
  }

  observe(hash: Uint8Array): LeaseHolder | undefined {
    const row = this.rows.get(toHex(hash));
    if (!row || row.expiresAt <= this.now()) return undefined;
    return { workerId: row.workerId, epoch: row.epoch, expiresInMs: row.expiresAt - this.now() };
  }

  /** Removes those that ran out a minute ago. */
  deleteStale(limit: number): number {
    const stale = [...this.rows].filter(([, row]) => row.expiresAt < this.now() - 60_000).slice(0, limit);
    for (const [hash] of stale) this.rows.delete(hash);
    return stale.length;
  }

  private held(claim: Omit<LeaseClaim, 'ttlMs'>) {
    const row = this.rows.get(toHex(claim.hash));
    return row?.workerId === claim.workerId && row.epoch === claim.epoch ? row : undefined;
  }
}
