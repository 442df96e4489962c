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
  /** Claims that the directory has not answered yet: first hash to answer. */
  private readonly asked = new Map<string, Promise<unknown>>();
  private claims = 0;
  private closed = false;

  constructor(options: LeaseKeeperOptions) {
    this.options = options;
    this.ttlMs = options.ttlMs ?? TTL_MS;
  }

  /**
   * Requests of this worker share one lease: whichever of them is computed, the lease stays until all have given it back. One that
   * comes while another's claim is on its way waits for that answer, or it would be told that its own worker is the leader.
   */
  async claim(request: ClaimRequest): Promise<Outcome<LeaseAttempt>> {
    const first = Buffer.from(request.hashes[request.firstBlock]!).toString('hex');
    await this.asked.get(first);
    if (this.closed) return failed('closed', 'the KV store is closed');
    const own = this.shareOwn(request);
    if (own !== undefined) return done(own);
    const answer = this.acquire(request);
    if (!this.asked.has(first)) {
      this.asked.set(first, answer);
      void answer.finally(() => this.asked.delete(first));
    }
    return answer;
  }

  /** Never rejects. */
  private async acquire(request: ClaimRequest): Promise<Outcome<LeaseAttempt>> {
    const { tenant, hashes, firstBlock } = request;
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
        const own = this.shareOwn(request);
        if (own !== undefined) return done(own);
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

  private shareOwn({ hashes, firstBlock }: ClaimRequest): LeaseAttempt | undefined {
    const own = [...this.held].find((one) => one.covers(hashes, firstBlock));
    return own && { state: 'shared', lease: own.share() };
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
