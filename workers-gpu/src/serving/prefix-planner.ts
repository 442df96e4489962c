import { BLOCK_TOKENS, type MissReason } from '@longshore/core';
import type { LeaseProgress } from '@longshore/db';
import type { PrefillSpeed } from '../domain/prefill-speed.ts';
import { PrefixChain } from '../domain/prefix-chain.ts';
import { type LoadPart, loadMs, partsWorthLoading } from '../domain/restore-race.ts';
import type { Scheduler } from '../domain/scheduler.ts';
import type { TailHint } from '../domain/sequence.ts';
import type { TierSpeeds } from '../domain/tier-speeds.ts';
import type { ForeignClaim, Hit, KvStore, Lease, ObjectSlice, StoreFault, TenantKeys } from '../kv/index.ts';

/** Fewer missing blocks than this are computed without asking other workers: the lease would cost more than it saves. */
const MIN_LEASED_BLOCKS = 4;
/** How long a request waits, at most, for its prefix to be computed by another request here; it stops when that request ends. */
const FOLLOW_HERE_MS = 60_000;
/** Lookups and claims before a request computes without a lease: each further round means that someone else was faster. */
const MAX_CLAIM_ROUNDS = 3;

export interface PrefixRequest {
  /** undefined: the tenant's keys could not be had, so nothing is shared. */
  tenant: TenantKeys | undefined;
  tokens: readonly number[];
  sample: boolean;
  read: boolean;
  write: boolean;
  /** A session's, for what is found and published; undefined: the store's default. */
  ttlSeconds?: number;
  /** A session's partial last block. */
  tail?: { endToken: number; objectKey: string | null };
  signal: AbortSignal;
}

/** `compete`: whichever of loading and computing is faster, block by block. `always`: load all that is stored. */
export type RestorePolicy = 'compete' | 'always';

interface RestoreEstimates {
  /** Loading everything that is stored, in milliseconds. */
  loadMs: number;
  /** Computing the same tokens instead. */
  recomputeMs: number;
}

/** Where a prompt's KV will come from, decided before it queues. Block counts are leading blocks. */
export interface PrefixPlan {
  tenant: TenantKeys | undefined;
  chain: PrefixChain;
  read: boolean;
  write: boolean;
  ttlSeconds: number | undefined;
  reusableBlocks: number;
  /** Worth restoring, resident ones included. */
  storedBlocks: number;
  /** Resident, or known to the store: need not be published. */
  publishedBlocks: number;
  /** The directory's answer, and the block it counts from. */
  hit: Hit | undefined;
  lookedFrom: number;
  /** When something is stored: what was expected of both ways to have it. */
  estimates: RestoreEstimates | undefined;
  tail: TailHint | undefined;
  tailObjectKey: string | null;
  missReason: MissReason | undefined;
  /** Held while this request computes what no one has; released when it is published or given up. */
  readonly leases: Lease[];
  /** How far this worker is along the chain, for those who follow. */
  readonly progress: () => LeaseProgress;
  /** Blocks up to storedBlocks are being computed by another worker: they are restored as it stores them. */
  follows: boolean;
  followMs: number;
}

export interface PrefixPlannerParts {
  kv: KvStore;
  scheduler: Scheduler;
  speed: PrefillSpeed;
  transfer: TierSpeeds;
  workerId: string;
  kvBytesPerToken: number;
  restorePolicy: RestorePolicy;
  randomRoot: () => Uint8Array;
}

/** Resident, restore or compute: asks the directory, weighs loading against computing, and takes the lease for what is missing. */
export class PrefixPlanner {
  private readonly parts: PrefixPlannerParts;

  constructor(parts: PrefixPlannerParts) {
    this.parts = parts;
  }

  async plan(request: PrefixRequest): Promise<PrefixPlan> {
    const { tenant, tokens } = request;
    const chain = new PrefixChain(tenant?.root ?? this.parts.randomRoot());
    chain.extend(tokens);
    const reusableBlocks = Math.floor((request.sample ? tokens.length - 1 : tokens.length) / BLOCK_TOKENS);
    const plan: PrefixPlan = {
      tenant,
      chain,
      read: request.read && tenant !== undefined,
      write: request.write && tenant !== undefined,
      ttlSeconds: request.ttlSeconds,
      reusableBlocks,
      storedBlocks: 0,
      publishedBlocks: 0,
      hit: undefined,
      lookedFrom: 0,
      estimates: undefined,
      tail: undefined,
      tailObjectKey: null,
      missReason: tenant === undefined ? 'store_unavailable' : undefined,
      leases: [],
      progress: () => this.progressOf(chain, reusableBlocks),
      follows: false,
      followMs: 0,
    };
    if (tenant === undefined) return plan;
    if (!request.read) return { ...plan, missReason: 'reading_disabled' };
    plan.followMs = FOLLOW_HERE_MS;
    this.planTail(plan, request);
    await this.lookup(plan, tenant);
    await this.claim(plan, tenant, request);
    return plan;
  }

  private planTail(plan: PrefixPlan, request: PrefixRequest): void {
    const { tail, tokens } = request;
    if (tail === undefined || tail.endToken % BLOCK_TOKENS === 0) return;
    if (tail.endToken > (request.sample ? tokens.length - 1 : tokens.length)) return;
    const hash = Buffer.from(plan.chain.tailDigest(tokens, tail.endToken)).toString('hex');
    const first = tail.endToken - (tail.endToken % BLOCK_TOKENS);
    const { transfer, kv, speed, kvBytesPerToken, restorePolicy } = this.parts;
    const tier = kv.tierOf(tail.objectKey ?? '');
    const readMs = transfer.of(tier).estimateMs((tail.endToken - first) * kvBytesPerToken);
    const worth = restorePolicy === 'always' || readMs <= speed.estimateMs(first, tail.endToken);
    plan.tail = { hash, endToken: tail.endToken, stored: tail.objectKey !== null && worth };
    plan.tailObjectKey = tail.objectKey;
  }

  private async lookup(plan: PrefixPlan, tenant: TenantKeys): Promise<void> {
    const resident = this.parts.scheduler.blocks.residentPrefix(plan.chain.prefixNames(plan.reusableBlocks)).length;
    plan.lookedFrom = resident;
    plan.storedBlocks = resident;
    plan.publishedBlocks = resident;
    plan.hit = undefined;
    plan.estimates = undefined;
    plan.missReason = undefined;
    const hashes = plan.chain.digestRange(0, plan.reusableBlocks);
    if (resident >= plan.reusableBlocks) {
      // What the device still holds must not expire in the store for not being read there.
      void this.parts.kv.touch(tenant, hashes, plan.ttlSeconds);
      return;
    }
    const outcome = await this.parts.kv.lookup({ tenant, hashes, from: resident, ttlSeconds: plan.ttlSeconds });
    if (!outcome.ok) {
      plan.missReason = missReasonOf(outcome.fault);
      return;
    }
    const hit = outcome.value;
    plan.publishedBlocks = resident + hit.blockCount;
    if (hit.endedBy !== 'complete') plan.missReason = hit.endedBy;
    if (hit.blockCount === 0) return;
    const { transfer, speed, restorePolicy } = this.parts;
    const from = resident * BLOCK_TOKENS;
    const parts = hit.slices.map((slice) => loadPartOf(slice, this.parts.kv));
    plan.estimates = {
      loadMs: loadMs(parts, transfer),
      recomputeMs: speed.estimateMs(from, plan.publishedBlocks * BLOCK_TOKENS),
    };
    if (restorePolicy === 'always' || partsWorthLoading(parts, from, transfer, speed) > 0) {
      plan.storedBlocks = plan.publishedBlocks;
      plan.hit = hit;
    } else {
      for (const tier of new Set(parts.map((part) => part.tier))) transfer.of(tier).relax();
      plan.missReason = 'load_slower_than_recompute';
    }
  }

  /** Takes the lease for what is missing, or notes whom to follow for it. */
  private async claim(plan: PrefixPlan, tenant: TenantKeys, request: PrefixRequest): Promise<void> {
    const hashes = plan.chain.digestRange(0, plan.reusableBlocks);
    for (let round = 0; round < MAX_CLAIM_ROUNDS; round++) {
      const firstBlock = plan.publishedBlocks;
      const missing = plan.reusableBlocks - firstBlock;
      if (!plan.write || missing === 0 || request.signal.aborted) return;
      if (missing < MIN_LEASED_BLOCKS) return this.followOnly(plan, tenant, hashes);
      const attempt = await this.parts.kv.leases.claim({ tenant, hashes, firstBlock, progress: plan.progress });
      if (!attempt.ok) return;
      const { value } = attempt;
      if (value.state === 'held') return this.follow(plan, value.claim);
      if (value.state === 'acquired' && (await this.storedMeanwhile(plan, tenant, hashes))) {
        await value.lease.release();
        continue;
      }
      plan.leases.push(value.lease);
      return;
    }
  }

  /** A prefix of which the store has all but a little may be on its way there right now. */
  private async followOnly(plan: PrefixPlan, tenant: TenantKeys, hashes: readonly Uint8Array[]): Promise<void> {
    if (plan.publishedBlocks === plan.lookedFrom) return;
    const holder = await this.parts.kv.leases.observe(tenant, hashes, plan.publishedBlocks);
    if (holder.ok && holder.value !== undefined) this.follow(plan, holder.value);
  }

  /** The last holder may have stored its blocks and given the lease back between our lookup and our claim. */
  private async storedMeanwhile(plan: PrefixPlan, tenant: TenantKeys, hashes: readonly Uint8Array[]): Promise<boolean> {
    const again = await this.parts.kv.lookup({ tenant, hashes, from: plan.publishedBlocks });
    if (!again.ok || again.value.blockCount === 0) return false;
    await this.lookup(plan, tenant);
    return true;
  }

  /** Waiting for another worker is only worth it where its blocks, once stored, load faster than they are computed here. */
  private follow(plan: PrefixPlan, claim: ForeignClaim): void {
    const { transfer, speed, kvBytesPerToken, workerId, restorePolicy } = this.parts;
    if (claim.workerId === workerId || !plan.read) return;
    const first = plan.lookedFrom * BLOCK_TOKENS;
    const end = claim.reach * BLOCK_TOKENS;
    const readMs = transfer.of('s3').estimateMs((end - first) * kvBytesPerToken);
    if (restorePolicy === 'compete' && readMs > speed.estimateMs(first, end)) return;
    plan.follows = true;
    plan.tail = undefined;
    plan.storedBlocks = Math.min(claim.reach, plan.reusableBlocks);
  }

  private progressOf(chain: PrefixChain, reusableBlocks: number): LeaseProgress {
    const { scheduler, speed } = this.parts;
    const computedBlocks = scheduler.blocks.residentPrefix(chain.prefixNames(reusableBlocks)).length;
    const left = Math.max(1, reusableBlocks - computedBlocks);
    const leftMs = speed.estimateMs(computedBlocks * BLOCK_TOKENS, (computedBlocks + left) * BLOCK_TOKENS);
    return { computedBlocks, blockMs: leftMs / left };
  }
}

export function loadPartOf(slice: ObjectSlice, kv: Pick<KvStore, 'tierOf'>): LoadPart {
  const { firstBlock, hashes, storedBytes } = slice;
  return { firstBlock, endBlock: firstBlock + hashes.length, bytes: storedBytes, tier: kv.tierOf(slice.key) };
}

export function missReasonOf(fault: StoreFault): MissReason {
  if (fault.kind === 'quarantined') return 'quarantined';
  return fault.kind === 'missing' ? 'expired' : 'store_unavailable';
}
