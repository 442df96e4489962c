import { LEASE_HASH_BYTES, type LeaseClaim, type LeaseHolder } from '@longshore/db';
import { faultOf } from './fault.ts';
import { HeldLease } from './held-lease.ts';
import type { ClaimRequest, ForeignClaim, LeaseAttempt, Leases } from './kv-store.ts';
import { done, failed, type Outcome, type StoreFault } from './outcome.ts';
import type { BlockDirectory } from './ports.ts';
import type { KvStoreStats } from './stats.ts';
import type { TenantKeys } from './tenant-keys.ts';

/** A holder that died is taken over this long after its last renewal, and one that lives renews five times within it. */
const TTL_MS = 2500;

export interface LeaseKeeperOptions {
  directory: BlockDirectory;
  workerId: string;
  epoch: string;
  stats: KvStoreStats;
  onFault: (fault: StoreFault) => void;
  now: () => number;
  ttlMs?: number;
}

/** Lease rows in the directory; those held here renew themselves and are shared by this worker's requests. */
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

  async claim(request: ClaimRequest): Promise<Outcome<LeaseAttempt>> {
    if (this.closed) return failed('closed', 'the KV store is closed');
    const { tenant, hashes, firstBlock } = request;
    const own = [...this.held].find((one) => one.covers(hashes, firstBlock));
    if (own !== undefined) return done({ state: 'shared', lease: own.share() });
    const { directory, workerId, epoch, stats } = this.options;
    const claim: LeaseClaim = {
      hashes,
      firstBlock,
      organizationId: tenant.organizationId,
      workerId,
      epoch: `${epoch}.${this.claims++}`,
      ttlMs: this.ttlMs,
    };
    try {
      const result = await directory.acquireLease(claim);
      if (result !== 'acquired') {
        stats.leasesHeldByOthers++;
        return done({ state: 'held', claim: seenFrom(hashes, result) });
      }
      stats.leasesAcquired++;
      const lease = new HeldLease(claim, request.progress, this.options, this.held);
      const handle = lease.share();
      if (this.closed) await handle.release();
      return done({ state: 'acquired', lease: handle });
    } catch (error) {
      return this.fault(error);
    }
  }

  async observe(
    tenant: TenantKeys,
    hashes: readonly Uint8Array[],
    index: number,
  ): Promise<Outcome<ForeignClaim | undefined>> {
    try {
      const holder = await this.options.directory.observeLease(tenant.organizationId, hashes, index);
      return done(holder && seenFrom(hashes, holder));
    } catch (error) {
      return this.fault(error);
    }
  }

  /** Gives up every lease held here, so that others need not wait for them to run out. */
  async close(): Promise<void> {
    this.closed = true;
    await Promise.all([...this.held].map((lease) => lease.giveUp()));
  }

  private fault(error: unknown): { ok: false; fault: StoreFault } {
    const fault = faultOf(error);
    this.options.onFault(fault);
    return { ok: false, fault };
  }
}

/** How far along this chain the holder goes. */
function seenFrom(hashes: readonly Uint8Array[], holder: LeaseHolder): ForeignClaim {
  const { workerId, expiresInMs, firstBlock, chain, computedBlocks, blockMs } = holder;
  let reach = firstBlock;
  for (let at = 0; reach < hashes.length; reach++, at += LEASE_HASH_BYTES) {
    const mark = hashes[reach]!.subarray(0, LEASE_HASH_BYTES);
    if (Buffer.compare(chain.subarray(at, at + LEASE_HASH_BYTES), mark) !== 0) break;
  }
  return { workerId, expiresInMs, reach, computedBlocks, blockMs };
}
