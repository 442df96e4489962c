import { setTimeout as sleep } from 'node:timers/promises';
import { BLOCK_TOKENS, type MissReason } from '@longshore/core';
import { FollowWait } from '../domain/follow-wait.ts';
import type { PrefillSpeed } from '../domain/prefill-speed.ts';
import type { Admission } from '../domain/scheduler.ts';
import type { RestoreTarget } from '../engine/job.ts';
import { type ForeignClaim, farthestTier, type KvStore, type ObjectSlice, type StoreTier } from '../kv/index.ts';
import { missReasonOf, type PrefixPlan } from './prefix-planner.ts';
import type { RestoreReport } from './running-restore.ts';

/** Between two looks at the leader and at what it has stored. Only one request of a worker follows a prefix; the others follow that one. */
const POLL_MS = 100;
/** A follower computes itself after this, whatever the leader says. */
const DEADLINE_MS = 60_000;
/** Blocks asked for in one look. */
const LOOKAHEAD_BLOCKS = 64;

export interface PrefixFollowerParts {
  kv: KvStore;
  speed: PrefillSpeed;
  workerId: string;
  /** How much longer than predicted a leader is waited for. */
  slackMs: number;
  now: () => number;
  onGaveUp: (reason: string) => void;
}

/** What one look found, and whose prefill it belongs to. */
interface Look {
  slices: readonly ObjectSlice[];
  leader: ForeignClaim | undefined;
}

/**
 * Follows a prefill on another worker: restores its blocks as they are stored, in order, until all are here. When the leader died it
 * takes over, when the leader is late or too slow it ends early; what is missing then is computed here.
 */
export class PrefixFollower {
  private readonly parts: PrefixFollowerParts;

  constructor(parts: PrefixFollowerParts) {
    this.parts = parts;
  }

  /** Never rejects. `onLeader`: blocks, from the chain's start, that the leader has computed. */
  async follow(
    plan: PrefixPlan,
    admission: Admission,
    target: RestoreTarget,
    signal: AbortSignal,
    onLeader: (blocks: number) => void,
  ): Promise<RestoreReport> {
    const { now, slackMs, onGaveUp } = this.parts;
    const { residentBlocks, restoreEnd } = admission;
    const startedAt = now();
    const report = new FollowReport();
    const wait = new FollowWait(startedAt, DEADLINE_MS, slackMs);
    while (!signal.aborted) {
      const front = residentBlocks + report.blocks;
      if (front >= restoreEnd) break;
      const look = await this.look(plan, front, restoreEnd);
      if (look === undefined) report.missReason = 'store_unavailable';
      if (look === undefined) break;
      if (look.slices.length > 0) {
        await Promise.all(look.slices.map((slice) => this.load(plan, admission, slice, target, signal, report)));
        if (report.missReason !== undefined) break;
        continue;
      }
      if (look.leader === undefined) {
        if (await this.takeOver(plan, front)) break;
        continue;
      }
      onLeader(Math.min(look.leader.computedBlocks, restoreEnd));
      const why = this.gaveUp(wait, look.leader, front, restoreEnd);
      if (why !== undefined) {
        onGaveUp(why);
        break;
      }
      await sleep(POLL_MS, undefined, { signal }).catch(() => {});
    }
    report.ms = now() - startedAt;
    return report;
  }

  /** The leader first: one that has ended stored its blocks before. undefined: the store cannot be asked. */
  private async look(plan: PrefixPlan, front: number, restoreEnd: number): Promise<Look | undefined> {
    const { kv } = this.parts;
    const tenant = plan.tenant!;
    const leader = await kv.leases.observe(tenant, plan.chain.digestRange(0, restoreEnd), front);
    const until = Math.min(restoreEnd, front + LOOKAHEAD_BLOCKS);
    const hashes = plan.chain.digestRange(0, until);
    const found = await kv.lookup({ tenant, hashes, from: front, ttlSeconds: plan.ttlSeconds });
    return leader.ok && found.ok ? { slices: found.value.slices, leader: leader.value } : undefined;
  }

  private async load(
    plan: PrefixPlan,
    { sequence }: Admission,
    slice: ObjectSlice,
    target: RestoreTarget,
    signal: AbortSignal,
    report: FollowReport,
  ): Promise<void> {
    const { firstBlock } = slice;
    const endBlock = firstBlock + slice.hashes.length;
    let claimed: number | undefined;
    const outcome = await this.parts.kv.restore({
      tenant: plan.tenant!,
      slice,
      physicalBlocks: Uint32Array.from(sequence.blocks.slice(firstBlock, endBlock)),
      claim: (first, end) => {
        claimed = target.claim(first, end);
        return claimed;
      },
      onBytes: (bytes) => {
        report.bytes += bytes;
      },
      signal,
    });
    if (outcome.ok) {
      report.blocks += outcome.value.blocks;
      report.tier = farthestTier(report.tier, outcome.value.tier);
    } else if (outcome.fault.kind !== 'cancelled') report.missReason ??= missReasonOf(outcome.fault);
    if (claimed !== undefined) target.loaded(claimed, endBlock, outcome.ok);
  }

  /** True: what is missing is to be computed here. False: another worker was faster, and is followed. */
  private async takeOver(plan: PrefixPlan, front: number): Promise<boolean> {
    if (!plan.write) return true;
    const attempt = await this.parts.kv.leases.claim({
      tenant: plan.tenant!,
      hashes: plan.chain.digestRange(0, plan.reusableBlocks),
      firstBlock: front,
      progress: plan.progress,
    });
    if (!attempt.ok) return true;
    if (attempt.value.state === 'held') return attempt.value.claim.workerId === this.parts.workerId;
    plan.leases.push(attempt.value.lease);
    return true;
  }

  private gaveUp(wait: FollowWait, leader: ForeignClaim, front: number, restoreEnd: number): string | undefined {
    const { now, speed } = this.parts;
    const end = Math.min(leader.reach, restoreEnd);
    wait.observe(now(), Math.max(0, end - leader.computedBlocks), leader.blockMs);
    return wait.over(now(), speed.estimateMs(front * BLOCK_TOKENS, end * BLOCK_TOKENS));
  }
}

class FollowReport implements RestoreReport {
  readonly tailLoaded = false;
  blocks = 0;
  bytes = 0;
  ms = 0;
  missReason: MissReason | undefined;
  tier: StoreTier | undefined;
}
