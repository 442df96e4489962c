import { BLOCK_TOKENS, type MissReason } from '@longshore/core';
import type { Admission } from '../domain/scheduler.ts';
import type { TransferSpeed } from '../domain/transfer-speed.ts';
import type { RestoreResult } from '../engine/job.ts';
import type { KvStore, ObjectSlice } from '../kv/index.ts';
import { missReasonOf, type PrefixPlan } from './prefix-planner.ts';

export interface RestoreReport extends RestoreResult {
  bytes: number;
  ms: number;
  missReason: MissReason | undefined;
}

/** Loads what an admission asks for: blocks from the store, a session's tail beside them. Never rejects. */
export class PrefixRestorer {
  private readonly kv: KvStore;
  private readonly transfer: TransferSpeed;
  private readonly now: () => number;

  constructor(kv: KvStore, transfer: TransferSpeed, now: () => number) {
    this.kv = kv;
    this.transfer = transfer;
    this.now = now;
  }

  async restore(
    plan: PrefixPlan,
    admission: Admission,
    signal: AbortSignal,
    onProgress: (blocks: number) => void,
  ): Promise<RestoreReport> {
    const started = this.now();
    const [run, tail] = await Promise.all([
      this.restoreBlocks(plan, admission, signal, onProgress),
      this.restoreTail(plan, admission, signal),
    ]);
    const validBlocks = admission.residentBlocks + run.blocks;
    const bytes = run.bytes + tail.bytes;
    const ms = this.now() - started;
    if (run.missReason === undefined && !signal.aborted) this.transfer.observe(bytes, ms);
    return {
      validBlocks,
      tailValid: tail.valid && validBlocks >= admission.restoreEnd,
      bytes,
      ms,
      missReason: run.missReason ?? tail.missReason,
    };
  }

  private async restoreBlocks(
    plan: PrefixPlan,
    admission: Admission,
    signal: AbortSignal,
    onProgress: (blocks: number) => void,
  ): Promise<{ blocks: number; bytes: number; missReason: MissReason | undefined }> {
    const { residentBlocks, restoreEnd, sequence } = admission;
    if (restoreEnd <= residentBlocks) return { blocks: 0, bytes: 0, missReason: undefined };
    const tenant = plan.tenant!;
    const slices = await this.slicesFrom(plan, residentBlocks, restoreEnd);
    if ('missReason' in slices) return { blocks: 0, bytes: 0, missReason: slices.missReason };
    const count = slices.reduce((sum, slice) => sum + slice.hashes.length, 0);
    const physicalBlocks = Uint32Array.from(sequence.blocks.slice(residentBlocks, residentBlocks + count));
    const run = await this.kv.restoreRun({ tenant, slices, physicalBlocks, onProgress, signal });
    const missReason = run.fault === undefined ? undefined : missReasonOf(run.fault);
    return { blocks: run.blocks, bytes: run.bytes, missReason };
  }

  /** The plan's slices where residency did not change since; otherwise the directory is asked again. */
  private async slicesFrom(
    plan: PrefixPlan,
    from: number,
    end: number,
  ): Promise<readonly ObjectSlice[] | { missReason: MissReason }> {
    if (plan.hit !== undefined && plan.lookedFrom === from) return plan.hit.slices;
    const hashes = plan.chain.digestRange(0, end);
    const outcome = await this.kv.lookup({ tenant: plan.tenant!, hashes, from });
    return outcome.ok ? outcome.value.slices : { missReason: missReasonOf(outcome.fault) };
  }

  private async restoreTail(
    plan: PrefixPlan,
    admission: Admission,
    signal: AbortSignal,
  ): Promise<{ valid: boolean; bytes: number; missReason?: MissReason }> {
    if (admission.tail === 'device') return { valid: true, bytes: 0 };
    const { tail, tailObjectKey, tenant } = plan;
    if (admission.tail === 'none' || tail === undefined || tailObjectKey === null || tenant === undefined) {
      return { valid: false, bytes: 0 };
    }
    const index = Math.floor(tail.endToken / BLOCK_TOKENS);
    const outcome = await this.kv.getTail({
      tenant,
      objectKey: tailObjectKey,
      parentHash: plan.chain.parentOf(index),
      hash: Buffer.from(tail.hash, 'hex'),
      firstToken: index * BLOCK_TOKENS,
      tokenCount: tail.endToken - index * BLOCK_TOKENS,
      physicalBlock: admission.sequence.blocks[index]!,
      signal,
    });
    if (!outcome.ok) return { valid: false, bytes: 0, missReason: missReasonOf(outcome.fault) };
    return { valid: true, bytes: outcome.value.bytes };
  }
}
