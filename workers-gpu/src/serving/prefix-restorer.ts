import { BLOCK_TOKENS, type MissReason } from '@longshore/core';
import { type ComputeCost, type LoadPart, partsWorthLoading } from '../domain/restore-race.ts';
import type { Admission } from '../domain/scheduler.ts';
import type { TierSpeeds } from '../domain/tier-speeds.ts';
import type { RestoreTarget } from '../engine/job.ts';
import type { KvStore, ObjectSlice, Outcome, Restored, RestoreRequest } from '../kv/index.ts';
import { loadPartOf, missReasonOf, type PrefixPlan, type RestorePolicy } from './prefix-planner.ts';
import { RunningRestore } from './running-restore.ts';

export interface PrefixRestorerOptions {
  kv: KvStore;
  transfer: TierSpeeds;
  compute: ComputeCost;
  kvBytesPerToken: number;
  /** Tokens of one step. */
  maxBatchTokens: number;
  policy: RestorePolicy;
  now: () => number;
}

/** One read: what it brings and how it is made. */
export interface RestoreRead extends LoadPart {
  /** A session's partial block. */
  isTail?: true;
  run(options: Pick<RestoreRequest, 'claim' | 'onBytes' | 'signal'>): Promise<Outcome<Restored>>;
}

/** Starts what an admission asks for: blocks from the store, the last ones first, and a session's tail before them. */
export class PrefixRestorer {
  private readonly options: PrefixRestorerOptions;

  constructor(options: PrefixRestorerOptions) {
    this.options = options;
  }

  /** Never rejects. Resolves before the first byte is there; `ended` of what it gives says when nothing more will come. A reason when nothing can be. */
  async start(
    plan: PrefixPlan,
    admission: Admission,
    target: RestoreTarget,
    signal: AbortSignal,
  ): Promise<RunningRestore | MissReason> {
    const { compute, maxBatchTokens, policy, now, transfer } = this.options;
    const { residentBlocks, restoreEnd, sequence } = admission;
    const slices = restoreEnd > residentBlocks ? await this.slicesFrom(plan, residentBlocks, restoreEnd) : [];
    if (typeof slices === 'string') return slices;
    const reads = slices.map((slice) => this.readSlice(plan, admission, slice));
    const tail = this.readTail(plan, admission);
    if (tail !== undefined) reads.push(tail);
    const from = residentBlocks * BLOCK_TOKENS;
    const worth = policy === 'always' ? reads.length : partsWorthLoading(reads, from, transfer, compute);
    return new RunningRestore({
      reads: reads.slice(reads.length - worth),
      from,
      endToken: admission.tail === 'none' ? restoreEnd * BLOCK_TOKENS : sequence.tail!.endToken,
      compete: policy === 'compete',
      transfer,
      compute,
      maxBatchTokens,
      target,
      signal,
      now,
    });
  }

  /** The plan's slices where residency did not change since; otherwise the directory is asked again. */
  private async slicesFrom(plan: PrefixPlan, from: number, end: number): Promise<readonly ObjectSlice[] | MissReason> {
    if (plan.hit !== undefined && plan.lookedFrom === from) return plan.hit.slices;
    const hashes = plan.chain.digestRange(0, end);
    const outcome = await this.options.kv.lookup({ tenant: plan.tenant!, hashes, from });
    return outcome.ok ? outcome.value.slices : missReasonOf(outcome.fault);
  }

  private readSlice(plan: PrefixPlan, admission: Admission, slice: ObjectSlice): RestoreRead {
    const part = loadPartOf(slice, this.options.kv);
    const physicalBlocks = Uint32Array.from(admission.sequence.blocks.slice(part.firstBlock, part.endBlock));
    return {
      ...part,
      run: (options) => this.options.kv.restore({ tenant: plan.tenant!, slice, physicalBlocks, ...options }),
    };
  }

  private readTail(plan: PrefixPlan, admission: Admission): RestoreRead | undefined {
    const { tail, tailObjectKey, tenant, chain } = plan;
    if (admission.tail !== 'store' || tail === undefined || tailObjectKey === null || tenant === undefined) return;
    const index = Math.floor(tail.endToken / BLOCK_TOKENS);
    const tokenCount = tail.endToken - index * BLOCK_TOKENS;
    return {
      isTail: true,
      firstBlock: index,
      endBlock: index + 1,
      bytes: tokenCount * this.options.kvBytesPerToken,
      tier: this.options.kv.tierOf(tailObjectKey),
      run: ({ claim, signal }) =>
        this.options.kv.getTail({
          tenant,
          objectKey: tailObjectKey,
          parentHash: chain.parentOf(index),
          hash: Buffer.from(tail.hash, 'hex'),
          firstToken: index * BLOCK_TOKENS,
          tokenCount,
          physicalBlock: admission.sequence.blocks[index]!,
          claim,
          signal,
        }),
    };
  }
}
