import assert from 'node:assert/strict';
import { BLOCK_TOKENS } from '@longshore/core';
import { BlockManager } from '../domain/block-manager.ts';
import { PrefixChain } from '../domain/prefix-chain.ts';
import { type Fork, Scheduler, type SchedulerLimits, type StepPlan } from '../domain/scheduler.ts';
import { Sequence, type SequenceOptions } from '../domain/sequence.ts';

/** What the scheduler's tests share: schedulers, sequences, and the device they would run on. */
const LIMITS: SchedulerLimits = { maxRunning: 4, maxWaiting: 8, maxBatchTokens: 512 };

export function build(capacity: number, limits: Partial<SchedulerLimits> = {}): Scheduler {
  return new Scheduler(new BlockManager(capacity), { ...LIMITS, ...limits });
}

/** `prefix` names the text: equal names are equal tokens. */
export function sequence(
  id: string,
  length: number,
  options: Partial<SequenceOptions> & { prefix?: number } = {},
): Sequence {
  const organizationId = options.organizationId ?? 'org';
  const root = new Uint8Array(32).fill(organizationId.length * 7 + organizationId.charCodeAt(0));
  const tokens = Array.from({ length }, (_, index) => ((options.prefix ?? id.charCodeAt(0)) * 1000 + index) % 50_000);
  return new Sequence({
    id,
    organizationId,
    tokens,
    chain: new PrefixChain(root),
    sample: true,
    readCache: true,
    shareBlocks: true,
    ...options,
  });
}

/** One step; every sample is token 7. */
export function run(scheduler: Scheduler, mixed = 128): StepPlan {
  scheduler.admit(0);
  const plan = scheduler.plan(mixed);
  scheduler.commit(plan.entries);
  for (const entry of plan.entries) if (entry.sample) entry.sequence.append(7);
  scheduler.checkIntegrity();
  return plan;
}

/** A restore that brings the blocks below `end` and then ends. */
export function restore(scheduler: Scheduler, one: Sequence, end: number): void {
  const first = scheduler.claim(one, one.load!.first, end);
  if (first !== undefined) scheduler.loaded(one, first, end, true);
  scheduler.endLoad(one);
}

/** What the pool would hold: for each slot of each physical block, a fingerprint of all tokens up to the one whose KV it has. */
export class TwinDevice {
  private readonly slots = new Map<number, number>();

  write(one: Sequence, start: number, end: number): void {
    const prints = fingerprints(one);
    for (let at = start; at < end; at++) this.slots.set(slotOf(one, at), prints[at]!);
  }

  copy({ from, to, tokens }: Fork): void {
    for (let slot = 0; slot < tokens; slot++) {
      this.slots.set(to * BLOCK_TOKENS + slot, this.slots.get(from * BLOCK_TOKENS + slot)!);
    }
  }

  /** Everything before `end` is this sequence's own KV. */
  check(one: Sequence, end: number): void {
    const prints = fingerprints(one);
    for (let at = 0; at < end; at++) {
      assert.equal(this.slots.get(slotOf(one, at)), prints[at], `${one.id} reads another prompt's KV at token ${at}`);
    }
  }
}

const slotOf = (one: Sequence, at: number): number =>
  one.blocks[Math.floor(at / BLOCK_TOKENS)]! * BLOCK_TOKENS + (at % BLOCK_TOKENS);

function fingerprints(one: Sequence): number[] {
  let print = one.organizationId.length;
  return one.tokens.map((token) => {
    print = (Math.imul(print, 31) + token + 1) >>> 0;
    return print;
  });
}
