import { equalBytes } from '@longshore/core';
import type { LeaseClaim, LeaseProgress } from '@longshore/db';
import { faultOf } from './fault.ts';
import type { Lease } from './kv-store.ts';
import type { StoreFault } from './outcome.ts';
import type { BlockDirectory } from './ports.ts';
import type { KvStoreStats } from './stats.ts';

/** Followers see the holder's progress this often. */
const RENEW_MS = 500;
const RENEWALS_PER_TTL = 5;
/** A holder that computes longer than this is taken for stuck: its lease is left to run out. */
const MAX_HOLD_MS = 15 * 60_000;

interface HeldLeaseParts {
  directory: Pick<BlockDirectory, 'renewLease' | 'releaseLease'>;
  stats: KvStoreStats;
  onFault: (fault: StoreFault) => void;
  now: () => number;
}

/** A lease of this worker: renews itself, with its holder's progress, until the last request that shares it gives it back. */
export class HeldLease {
  private lost = false;
  private ended = false;
  private shares = 0;
  private renewing = false;
  private readonly claim: LeaseClaim;
  private readonly progress: () => LeaseProgress;
  private readonly parts: HeldLeaseParts;
  private readonly siblings: Set<HeldLease>;
  private readonly timer: NodeJS.Timeout;
  private readonly acquiredAt: number;

  constructor(claim: LeaseClaim, progress: () => LeaseProgress, parts: HeldLeaseParts, siblings: Set<HeldLease>) {
    this.claim = claim;
    this.progress = progress;
    this.parts = parts;
    this.siblings = siblings;
    this.acquiredAt = parts.now();
    this.timer = setInterval(() => void this.renew(), Math.min(RENEW_MS, claim.ttlMs / RENEWALS_PER_TTL));
    this.timer.unref();
    siblings.add(this);
  }

  /** Its holder computes block `index` of this chain. */
  covers(hashes: readonly Uint8Array[], index: number): boolean {
    const mine = this.claim.hashes[index];
    return index >= this.claim.firstBlock && mine !== undefined && equalBytes(mine, hashes[index]!);
  }

  share(): Lease {
    this.shares++;
    let mine = true;
    const lost = () => this.lost;
    return {
      get lost() {
        return lost();
      },
      release: async () => {
        if (!mine) return;
        mine = false;
        if (--this.shares === 0) await this.giveUp();
      },
    };
  }

  async giveUp(): Promise<void> {
    if (this.ended) return;
    this.end();
    try {
      await this.parts.directory.releaseLease(this.claim);
    } catch (error) {
      this.parts.onFault(faultOf(error));
    }
  }

  private async renew(): Promise<void> {
    if (this.renewing) return;
    if (this.parts.now() - this.acquiredAt > MAX_HOLD_MS) return this.end();
    this.renewing = true;
    try {
      const kept = await this.parts.directory.renewLease(this.claim, this.progress());
      if (kept || this.ended) return;
      this.lost = true;
      this.parts.stats.leasesLost++;
      this.end();
    } catch (error) {
      this.parts.onFault(faultOf(error));
    } finally {
      this.renewing = false;
    }
  }

  private end(): void {
    this.ended = true;
    clearInterval(this.timer);
    this.siblings.delete(this);
  }
}
