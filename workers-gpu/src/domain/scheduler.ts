import { BLOCK_TOKENS, LongshoreError } from '@longshore/core';
import type { BlockManager } from './block-manager.ts';
import { type ForkSource, findForkSource } from './fork-source.ts';
import { assertInvariant } from './invariant.ts';
import { PrefixLoad } from './prefix-load.ts';
import type { Admission, CompletedBlocks, Following, Fork, StepPlan } from './scheduling.ts';
import { checkQueued, type Sequence } from './sequence.ts';
import { isTail, planStep, type StepEntry } from './step-plan.ts';
import { TenantClock } from './tenant-clock.ts';

export interface SchedulerLimits {
  maxRunning: number;
  maxWaiting: number;
  /** Tokens of one step. */
  maxBatchTokens: number;
  /** Blocks that end beyond are computed whole, in one step (the engine's `denseTokens`). Absent: none are. */
  denseTokens?: number;
}

export type { Admission, CompletedBlocks, Following, Fork, StepPlan } from './scheduling.ts';

/**
 * Decides who runs: admission by tenant fairness and free blocks, single-flight between sequences that share a prefix, step
 * plans, and preemption of the youngest when blocks run out. Pure: time comes in as an argument, work goes out as a plan.
 */
export class Scheduler {
  readonly blocks: BlockManager;
  readonly limits: SchedulerLimits;
  private readonly queue: Sequence[] = [];
  /** Admitted, in order of admission. */
  private readonly active: Sequence[] = [];
  /** Blocks being computed or restored right now, by hash. */
  private readonly inFlight = new Map<string, Sequence>();
  private readonly clock = new TenantClock();
  private admissions = 0;
  /** The last step let tails go first: this one does not, so that they can starve nobody. */
  private tailsWent = false;

  constructor(blocks: BlockManager, limits: SchedulerLimits) {
    assertInvariant(limits.maxRunning <= limits.maxBatchTokens, 'a step must hold one token of every running sequence');
    assertInvariant(
      limits.denseTokens === undefined || limits.maxRunning + BLOCK_TOKENS <= limits.maxBatchTokens,
      'a step must hold a whole block beside one token of every running sequence',
    );
    this.blocks = blocks;
    this.limits = limits;
  }

  get waiting(): readonly Sequence[] {
    return this.queue;
  }

  get running(): readonly Sequence[] {
    return this.active;
  }

  /** Tokens still to compute, over all sequences. */
  get queuedTokens(): number {
    let total = 0;
    for (const sequence of this.queue) total += sequence.remaining;
    for (const sequence of this.active) total += sequence.remaining;
    return total;
  }

  /** Throws LongshoreError overloaded, with the given estimate, when the waiting queue is full. */
  submit(sequence: Sequence, retryAfterSeconds: number): void {
    const blocksNeeded = Math.ceil(sequence.tokens.length / BLOCK_TOKENS);
    assertInvariant(blocksNeeded <= this.blocks.capacity, 'a prompt must fit into the block pool');
    const waiting = this.queue.filter((one) => one.phase === 'waiting').length;
    if (waiting >= this.limits.maxWaiting) {
      throw new LongshoreError(
        'overloaded',
        `This worker already has ${waiting} requests waiting; retry in ${retryAfterSeconds} s.`,
        { retryAfterSeconds },
      );
    }
    this.queue.push(sequence);
  }

  /** Admits what fits now. `now` is in milliseconds on any monotonic clock. */
  admit(now: number): Admission[] {
    const admitted: Admission[] = [];
    this.clock.retainActive([...this.queue, ...this.active].map((sequence) => sequence.organizationId));
    while (this.active.length < this.limits.maxRunning) {
      const candidate = this.nextCandidate(now);
      if (candidate === undefined) break;
      const admission = this.tryAdmit(candidate);
      if (admission === undefined) break;
      admitted.push(admission);
    }
    return admitted;
  }

  /** Preempted sequences first, then the oldest of the organization furthest behind, leaving out those that follow another. */
  private nextCandidate(now: number): Sequence | undefined {
    let best: Sequence | undefined;
    for (const sequence of this.queue) {
      if (this.leaderOf(sequence, now) !== undefined) continue;
      if (sequence.phase === 'preempted') return sequence;
      if (best === undefined || this.clock.precedes(sequence.organizationId, best.organizationId)) {
        best = sequence;
      }
    }
    return best;
  }

  private residentBlocks(sequence: Sequence): number[] {
    if (!sequence.readCache) return [];
    return this.blocks.residentPrefix(sequence.chain.prefixNames(sequence.reusableBlocks));
  }

  /**
   * Whom a queued sequence waits for: the one that computes or restores its next missing block, or, where only the partial block is
   * missing, the one that computes that block's leading tokens.
   */
  private leaderOf(sequence: Sequence, now: number): Sequence | undefined {
    if (!sequence.readCache || now >= sequence.followUntil) return undefined;
    const resident = this.residentBlocks(sequence).length;
    const next = resident < sequence.reusableBlocks ? sequence.chain.name(resident) : undefined;
    if (next !== undefined) return this.inFlight.get(next);
    if (sequence.storedBlocks > resident || sequence.tail !== undefined) return undefined;
    const fork = this.forkSource(sequence, resident);
    return fork === undefined || fork.ready ? undefined : fork.source;
  }

  /** Everyone who waits for another sequence's blocks. */
  followings(now: number): Following[] {
    if (this.active.length === 0) return [];
    return this.queue.flatMap((follower) => {
      const leader = this.leaderOf(follower, now);
      return leader === undefined ? [] : [{ follower, leader }];
    });
  }

  /** The earliest time at which a sequence that follows another gives up waiting. */
  nextFollowDeadline(now: number): number | undefined {
    const deadlines = this.followings(now).map(({ follower }) => follower.followUntil);
    return deadlines.length === 0 ? undefined : Math.min(...deadlines);
  }

  private tryAdmit(sequence: Sequence): Admission | undefined {
    const resident = this.residentBlocks(sequence);
    const stored = sequence.readCache ? Math.min(sequence.storedBlocks, sequence.reusableBlocks) : 0;
    const reach = Math.max(resident.length, stored);
    const total = Math.ceil(sequence.tokens.length / BLOCK_TOKENS);
    const spare = this.active.length;
    const needed = total - resident.length + this.blocks.unreferencedAmong(resident) + spare;
    if (needed > this.blocks.available) return undefined;

    this.blocks.retain(resident);
    const tailIndex = this.usableTail(sequence, reach);
    const deviceTail = tailIndex === undefined ? undefined : this.blocks.takePartial(sequence.tail!.hash);
    const fresh = this.blocks.allocate(total - resident.length - (deviceTail === undefined ? 0 : 1));
    assertInvariant(fresh !== undefined, 'blocks counted as available were not');
    sequence.blocks = [...resident, ...fresh];
    if (deviceTail !== undefined) sequence.blocks.splice(tailIndex!, 0, deviceTail);
    const storeTail = tailIndex !== undefined && deviceTail === undefined && sequence.tail!.stored;

    sequence.computed = resident.length * BLOCK_TOKENS;
    sequence.cached = sequence.computed;
    sequence.stepEnd = sequence.computed;
    sequence.registered = resident.length;
    sequence.admission = this.admissions++;
    this.queue.splice(this.queue.indexOf(sequence), 1);
    this.active.push(sequence);
    const restores = reach > resident.length || storeTail;
    const fork = restores || deviceTail !== undefined ? undefined : this.beginFork(sequence, resident.length);
    this.claimInFlight(sequence);
    sequence.phase = restores || fork !== undefined ? 'restoring' : 'running';
    const joined = deviceTail !== undefined || storeTail;
    if (restores) sequence.load = new PrefixLoad(resident.length, reach, joined ? sequence.tail!.endToken : undefined);
    if (deviceTail !== undefined) this.joinTail(sequence, tailIndex!);
    return {
      sequence,
      residentBlocks: resident.length,
      restoreEnd: reach,
      tail: deviceTail !== undefined ? 'device' : storeTail ? 'store' : 'none',
      fork,
    };
  }

  /** Beyond `denseTokens` whoever's prompt ends in a block begins it again (Sequence.realign): a copy would be waited for and thrown away. */
  private forkSource(sequence: Sequence, index: number): ForkSource | undefined {
    const { denseTokens = Number.POSITIVE_INFINITY } = this.limits;
    return (index + 1) * BLOCK_TOKENS > denseTokens ? undefined : findForkSource(sequence, index, this.active);
  }

  /** The source's block stays referenced until the copy ended, so that nobody overwrites it meanwhile. */
  private beginFork(sequence: Sequence, index: number): Fork | undefined {
    if (!sequence.readCache || sequence.tail !== undefined) return undefined;
    const found = this.forkSource(sequence, index);
    if (found === undefined || !found.ready) return undefined;
    const from = found.source.blocks[index]!;
    this.blocks.retain([from]);
    sequence.forkedFrom = from;
    return { from, to: sequence.blocks[index]!, firstToken: index * BLOCK_TOKENS, tokens: found.tokens };
  }

  /** A copy ended. One that failed costs the time to compute its tokens. */
  forked(sequence: Sequence, fork: Fork, copied: boolean): void {
    if (sequence.phase !== 'restoring') return;
    this.endFork(sequence);
    sequence.phase = 'running';
    if (!copied) return;
    sequence.computed = fork.firstToken + fork.tokens;
    sequence.cached = sequence.computed;
  }

  private endFork(sequence: Sequence): void {
    if (sequence.forkedFrom === undefined) return;
    this.blocks.release([sequence.forkedFrom]);
    sequence.forkedFrom = undefined;
  }

  /** Index of the partial block when the tail joins exactly where the reusable blocks end. */
  private usableTail(sequence: Sequence, reach: number): number | undefined {
    const tail = sequence.tail;
    if (tail === undefined || !sequence.readCache) return undefined;
    const last = sequence.sample ? sequence.tokens.length - 1 : sequence.tokens.length;
    const index = Math.floor(tail.endToken / BLOCK_TOKENS);
    return reach === index && tail.endToken <= last ? index : undefined;
  }

  private claimInFlight(sequence: Sequence): void {
    if (!sequence.shareBlocks) return;
    for (let index = sequence.registered; index < sequence.chain.length; index++) {
      const hash = sequence.chain.name(index)!;
      if (!this.inFlight.has(hash)) this.inFlight.set(hash, sequence);
    }
  }

  private dropInFlight(sequence: Sequence): void {
    for (const [hash, owner] of this.inFlight) if (owner === sequence) this.inFlight.delete(hash);
  }

  /** The tail is on the device already: it counts as soon as everything before it does. */
  private joinTail(sequence: Sequence, index: number): void {
    const { load } = sequence;
    if (load === undefined) {
      sequence.computed = sequence.tail!.endToken;
      sequence.cached = sequence.computed;
      return;
    }
    load.claim(index, index + 1, 0);
    load.settle(index, index + 1, true);
  }

  /**
   * A tier is about to write blocks [first, end) of a sequence: the first of them that it may, undefined when none is wanted any more.
   * No step touches them until `loaded` is called.
   */
  claim(sequence: Sequence, first: number, end: number): number | undefined {
    return sequence.load?.claim(first, end, Math.max(sequence.computed, sequence.stepEnd));
  }

  /** What was claimed holds its KV, or (not `intact`) is to be computed after all. */
  loaded(sequence: Sequence, first: number, end: number, intact: boolean): CompletedBlocks | undefined {
    const { load } = sequence;
    if (load === undefined) return undefined;
    load.settle(first, end, intact);
    return this.passLoaded(sequence);
  }

  /**
   * Nothing more will be loaded: what is missing is computed, so a failed restore costs time and nothing else. What was loaded ahead of
   * the computation (of a running step, or of a block that did not come) stays and is passed over when that gets there.
   */
  endLoad(sequence: Sequence): void {
    const { load } = sequence;
    if (load === undefined) return;
    assertInvariant(!load.writing, `${sequence.id} is still being written`);
    load.ended = true;
    if (!load.isAheadOf(sequence.computed)) this.dropLoad(sequence);
  }

  private dropLoad(sequence: Sequence): void {
    sequence.load = undefined;
    sequence.phase = 'running';
  }

  /** Goes over the loaded blocks that follow what is computed. */
  private passLoaded(sequence: Sequence): CompletedBlocks | undefined {
    const { load } = sequence;
    if (load === undefined) return undefined;
    const reach = load.reach(sequence.computed);
    sequence.cached += reach - sequence.computed;
    sequence.computed = reach;
    if (reach >= load.endToken || (load.ended && !load.isAheadOf(reach))) this.dropLoad(sequence);
    const start = sequence.registered;
    const end = this.registerComplete(sequence);
    return end > start ? { sequence, start, end } : undefined;
  }

  /** Plans one step. `mixedPrefillTokens` bounds prefill while others decode, so that their latency stays bounded. */
  plan(mixedPrefillTokens: number): StepPlan {
    const preempted: Sequence[] = [];
    const denseTokens = this.limits.denseTokens ?? Number.POSITIVE_INFINITY;
    for (const sequence of this.active) if (sequence.phase === 'running') sequence.realign(denseTokens);
    for (const sequence of [...this.active]) {
      if (sequence.phase === 'running' && sequence.decoding) this.ensureBlock(sequence, preempted);
    }
    const tailTokens = this.tailsWent ? 0 : this.limits.maxBatchTokens;
    const entries = planStep(
      this.active.filter((sequence) => sequence.runnable > 0),
      { maxTokens: this.limits.maxBatchTokens, mixedPrefillTokens, tailTokens, denseTokens },
      (organizationId) => this.clock.time(organizationId),
    );
    this.tailsWent = !this.tailsWent && entries.some(({ sequence, count }) => count > 1 && isTail(sequence));
    for (const sequence of this.active) sequence.stepEnd = sequence.computed;
    for (const { sequence, start, count } of entries) sequence.stepEnd = start + count;
    return { entries, preempted };
  }

  private ensureBlock(sequence: Sequence, preempted: Sequence[]): void {
    while (sequence.phase === 'running' && sequence.blocks.length * BLOCK_TOKENS <= sequence.computed) {
      const block = this.blocks.allocate(1);
      if (block !== undefined) {
        sequence.blocks.push(...block);
        continue;
      }
      const victim = this.active.findLast((one) => one.phase === 'running');
      assertInvariant(victim !== undefined, 'a running sequence exists');
      this.preempt(victim);
      preempted.push(victim);
    }
  }

  private preempt(sequence: Sequence): void {
    this.leave(sequence);
    sequence.phase = 'preempted';
    sequence.preemptions++;
    sequence.tail = undefined;
    this.queue.unshift(sequence);
  }

  private leave(sequence: Sequence): void {
    this.dropInFlight(sequence);
    this.endFork(sequence);
    this.blocks.release(sequence.blocks);
    sequence.blocks = [];
    sequence.computed = 0;
    sequence.cached = 0;
    sequence.load = undefined;
    sequence.registered = 0;
    this.active.splice(this.active.indexOf(sequence), 1);
  }

  /** The step ran: its tokens' KV is on the device. Returns the blocks that became complete. */
  commit(entries: readonly StepEntry[]): CompletedBlocks[] {
    const completed: CompletedBlocks[] = [];
    for (const { sequence, start, count } of entries) {
      if (sequence.phase !== 'running' && sequence.load === undefined) continue;
      assertInvariant(sequence.computed === start, `${sequence.id} moved while its step ran`);
      sequence.computed = start + count;
      this.clock.charge(sequence.organizationId, count);
      const from = sequence.registered;
      const end = this.registerComplete(sequence);
      if (end > from) completed.push({ sequence, start: from, end });
      this.passLoaded(sequence);
    }
    return completed;
  }

  private registerComplete(sequence: Sequence): number {
    const complete = Math.floor(sequence.computed / BLOCK_TOKENS);
    for (let index = sequence.registered; index < complete; index++) {
      const hash = sequence.chain.name(index);
      assertInvariant(hash !== undefined, 'a complete block has a hash');
      if (sequence.shareBlocks) this.blocks.register(sequence.blocks[index]!, hash);
      if (this.inFlight.get(hash) === sequence) this.inFlight.delete(hash);
    }
    sequence.registered = Math.max(sequence.registered, complete);
    return sequence.registered;
  }

  /** Ends a sequence in any phase and gives its blocks back. Idempotent. Not while a step or restore still writes them. */
  finish(sequence: Sequence): void {
    if (sequence.phase === 'finished') return;
    if (sequence.phase === 'waiting' || sequence.phase === 'preempted') {
      this.queue.splice(this.queue.indexOf(sequence), 1);
    } else {
      this.leave(sequence);
    }
    sequence.phase = 'finished';
  }

  /** Throws when the structures contradict each other; for tests and idle moments. */
  checkIntegrity(): void {
    this.blocks.checkIntegrity();
    const references = new Map<number, number>();
    for (const sequence of this.active) {
      assertInvariant(sequence.phase === 'running' || sequence.phase === 'restoring', `${sequence.id} is not active`);
      assertInvariant(new Set(sequence.blocks).size === sequence.blocks.length, `${sequence.id} holds a block twice`);
      assertInvariant(sequence.computed <= sequence.tokens.length, `${sequence.id} computed more than it has`);
      assertInvariant(sequence.blocks.length * BLOCK_TOKENS >= sequence.computed, `${sequence.id} lacks blocks`);
      assertInvariant(
        sequence.load === undefined || sequence.phase === 'restoring',
        `${sequence.id} runs while it loads`,
      );
      sequence.load?.checkIntegrity(sequence.computed);
      assertInvariant(
        sequence.forkedFrom === undefined || sequence.phase === 'restoring',
        `${sequence.id} runs while it copies`,
      );
      const held = sequence.forkedFrom === undefined ? sequence.blocks : [...sequence.blocks, sequence.forkedFrom];
      for (const block of held) references.set(block, (references.get(block) ?? 0) + 1);
    }
    for (const [block, count] of references) {
      assertInvariant(this.blocks.referencesOf(block) >= count, `block ${block} has too few references`);
    }
    for (const sequence of this.queue) checkQueued(sequence);
    assertInvariant(this.active.length <= this.limits.maxRunning, 'too many sequences run');
    for (const [hash, owner] of this.inFlight) {
      assertInvariant(this.active.includes(owner), `in-flight block ${hash} has no active owner`);
    }
  }
}
