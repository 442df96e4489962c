import { setTimeout as sleep } from 'node:timers/promises';
import type { LeaseClaim } from '@longshore/db';
import { backoffMs } from './domain/backoff.ts';
import { faultOf } from './fault.ts';
import type { Lease, LeaseAttempt, Leases } from './kv-store.ts';
import { done, failed, type Outcome, type StoreFault } from './outcome.ts';
import type { BlockDirectory } from './ports.ts';
import type { KvStoreStats } from './stats.ts';
import type { TenantKeys } from './tenant-keys.ts';

const TTL_MS = 15_000;
const RENEW_MS = TTL_MS / 3;
/** A holder that computes longer than this is taken for stuck: its lease is left to run out. */
const MAX_HOLD_MS = 15 * 60_000;
const FIRST_POLL_MS = 50;
const LAST_POLL_MS = 1000;

export interface LeaseKeeperOptions {
  directory: BlockDirectory;
  workerId: string;
  epoch: string;
  stats: KvStoreStats;
  onFault: (fault: StoreFault) => void;
  now: () => number;
  ttlMs?: number;
}

/** Lease rows in the directory; those held here renew themselves. Every claim is told apart from this worker's other claims. */
export class LeaseKeeper implements Leases {
  private readonly options: LeaseKeeperOptions;
  private readonly ttlMs: number;
  private readonly held = new Set<HeldLease>();
  private claims = 0;
  private closed = false;

  constructor(options: LeaseKeeperOptions) {
    this.options = options;
    this.ttlMs = options.ttlMs ?? TTL_MS;
  }

  async acquire(tenant: TenantKeys, hash: Uint8Array): Promise<Outcome<LeaseAttempt>> {
    if (this.closed) return failed('closed', 'the KV store is closed');
    const { directory, workerId, epoch, stats } = this.options;
    const { organizationId } = tenant;
    const claim = { hash, organizationId, workerId, epoch: `${epoch}.${this.claims++}`, ttlMs: this.ttlMs };
    try {
      const result = await directory.acquireLease(claim);
      if (result !== 'acquired') {
        stats.leasesHeldByOthers++;
        return done({ state: 'held', workerId: result.workerId, expiresInMs: result.expiresInMs });
      }
      stats.leasesAcquired++;
      const lease = new HeldLease(claim, this.options, this.held);
      this.held.add(lease);
      return done({ state: 'acquired', lease });
    } catch (error) {
      return this.fault(error);
    }
  }

  async observe(hash: Uint8Array): Promise<Outcome<{ workerId: string; expiresInMs: number } | undefined>> {
    try {
      const holder = await this.options.directory.observeLease(hash);
      return done(holder && { workerId: holder.workerId, expiresInMs: holder.expiresInMs });
    } catch (error) {
      return this.fault(error);
    }
  }

  async follow(hash: Uint8Array, timeoutMs: number, signal?: AbortSignal): Promise<Outcome<'free' | 'timeout'>> {
    const deadline = this.options.now() + timeoutMs;
    for (let attempt = 0; ; attempt++) {
      if (signal?.aborted) return failed('cancelled', 'waiting was cancelled');
      if (this.closed) return failed('closed', 'the KV store is closed');
      const observed = await this.observe(hash);
      if (!observed.ok) return observed;
      if (!observed.value) return done('free');
      const left = deadline - this.options.now();
      if (left <= 0) return done('timeout');
      const wait = backoffMs(attempt, FIRST_POLL_MS, LAST_POLL_MS, Math.random());
      await sleep(Math.min(wait, left, observed.value.expiresInMs + 1), undefined, { signal }).catch(() => {});
    }
  }

  /** Gives up every lease held here, so that others need not wait for them to run out. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all([...this.held].map((lease) => lease.release()));
  }

  private fault(error: unknown): { ok: false; fault: StoreFault } {
    const fault = faultOf(error);
    this.options.onFault(fault);
    return { ok: false, fault };
  }
}

class HeldLease implements Lease {
  readonly hash: Uint8Array;
  lost = false;
  private released = false;
  private readonly claim: LeaseClaim;
  private readonly options: LeaseKeeperOptions;
  private readonly siblings: Set<HeldLease>;
  private readonly timer: NodeJS.Timeout;
  private readonly acquiredAt: number;

  constructor(claim: LeaseClaim, options: LeaseKeeperOptions, siblings: Set<HeldLease>) {
    this.hash = claim.hash;
    this.claim = claim;
    this.options = options;
    this.siblings = siblings;
    this.acquiredAt = options.now();
    this.timer = setInterval(() => void this.renew(), Math.min(RENEW_MS, claim.ttlMs / 3));
    this.timer.unref();
  }

  async release(): Promise<void> {
    if (this.released) return;
    this.released = true;
    this.end();
    try {
      await this.options.directory.releaseLease(this.claim);
    } catch (error) {
      this.options.onFault(faultOf(error));
    }
  }

  private async renew(): Promise<void> {
    if (this.options.now() - this.acquiredAt > MAX_HOLD_MS) return this.end();
    try {
      const kept = await this.options.directory.renewLease(this.claim);
      if (kept || this.released) return;
      this.lost = true;
      this.options.stats.leasesLost++;
      this.end();
    } catch (error) {
      this.options.onFault(faultOf(error));
    }
  }

  private end(): void {
    clearInterval(this.timer);
    this.siblings.delete(this);
  }
}
