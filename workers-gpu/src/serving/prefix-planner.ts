import { BLOCK_TOKENS, type MissReason } from '@longshore/core';
import type { PrefillSpeed } from '../domain/prefill-speed.ts';
import { PrefixChain } from '../domain/prefix-chain.ts';
import { type LoadPart, partsWorthLoading } from '../domain/restore-race.ts';
import type { Scheduler } from '../domain/scheduler.ts';
import type { TailHint } from '../domain/sequence.ts';
import type { TransferSpeed } from '../domain/transfer-speed.ts';
import type { Hit, KvStore, Lease, ObjectSlice, StoreFault, TenantKeys } from '../kv/index.ts';

/** Fewer missing blocks than this are computed without asking other workers: the lease would cost more than it saves. */
const MIN_LEASED_BLOCKS = 4;
/**
 * How long a request waits, at most, for its prefix to be computed by another request here (seen to advance, and released at
 * once when that request ends), and by another worker (seen only through its lease).
 */
const FOLLOW_HERE_MS = 60_000;
const MIN_FOLLOW_WORKER_MS = 2000;
const MAX_FOLLOW_WORKER_MS = 30_000;
const MAX_FOLLOW_ROUNDS = 3;

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
  lease: Lease | undefined;
  followMs: number;
}

export interface PrefixPlannerParts {
  kv: KvStore;
  scheduler: Scheduler;
  speed: PrefillSpeed;
  transfer: TransferSpeed;
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
      lease: undefined,
      followMs: 0,
    };
    if (tenant === undefined) return plan;
    if (!request.read) return { ...plan, missReason: 'reading_disabled' };
    plan.followMs = FOLLOW_HERE_MS;
    this.planTail(plan, request);
    for (let round = 0; round < MAX_FOLLOW_ROUNDS; round++) {
      await this.lookup(plan, tenant);
      if (!(await this.awaitOtherWorker(plan, tenant, request))) break;
    }
    return plan;
  }

  private planTail(plan: PrefixPlan, request: PrefixRequest): void {
    const { tail, tokens } = request;
    if (tail === undefined || tail.endToken % BLOCK_TOKENS === 0) return;
    if (tail.endToken > (request.sample ? tokens.length - 1 : tokens.length)) return;
    const hash = Buffer.from(plan.chain.tailDigest(tokens, tail.endToken)).toString('hex');
    const first = tail.endToken - (tail.endToken % BLOCK_TOKENS);
    const loadMs = this.parts.transfer.estimateMs((tail.endToken - first) * this.parts.kvBytesPerToken);
    const worth = this.parts.restorePolicy === 'always' || loadMs <= this.parts.speed.estimateMs(first, tail.endToken);
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
    plan.estimates = {
      loadMs: transfer.estimateMs(hit.storedBytes),
      recomputeMs: speed.estimateMs(from, plan.publishedBlocks * BLOCK_TOKENS),
    };
    const parts = hit.slices.map(loadPartOf);
    if (restorePolicy === 'always' || partsWorthLoading(parts, from, transfer, speed) > 0) {
      plan.storedBlocks = plan.publishedBlocks;
      plan.hit = hit;
    } else {
      transfer.relax();
      plan.missReason = 'load_slower_than_recompute';
    }
  }

  /** True when another worker computed (or gave up) the missing prefix meanwhile, so the directory should be asked again. */
  private async awaitOtherWorker(plan: PrefixPlan, tenant: TenantKeys, request: PrefixRequest): Promise<boolean> {
    const missing = plan.reusableBlocks - plan.publishedBlocks;
    if (!plan.write || missing < MIN_LEASED_BLOCKS || request.signal.aborted) return false;
    const hash = plan.chain.digestRange(plan.publishedBlocks, plan.publishedBlocks + 1)[0]!;
    const attempt = await this.parts.kv.leases.acquire(tenant, hash);
    if (!attempt.ok) return false;
    if (attempt.value.state === 'acquired') {
      plan.lease = attempt.value.lease;
      return false;
    }
    if (attempt.value.workerId === this.parts.workerId) return false;
    const computeMs = this.parts.speed.estimateMs(
      plan.publishedBlocks * BLOCK_TOKENS,
      plan.reusableBlocks * BLOCK_TOKENS,
    );
    const timeoutMs = Math.min(MAX_FOLLOW_WORKER_MS, Math.max(MIN_FOLLOW_WORKER_MS, 3 * computeMs));
    const followed = await this.parts.kv.leases.follow(hash, timeoutMs, request.signal);
    return followed.ok && followed.value === 'free';
  }
}

export function loadPartOf(slice: ObjectSlice): LoadPart {
  const { firstBlock, hashes, storedBytes } = slice;
  return { firstBlock, endBlock: firstBlock + hashes.length, bytes: storedBytes };
}

export function missReasonOf(fault: StoreFault): MissReason {
  if (fault.kind === 'quarantined') return 'quarantined';
  return fault.kind === 'missing' ? 'expired' : 'store_unavailable';
}
