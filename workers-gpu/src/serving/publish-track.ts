import type { BlockManager } from '../domain/block-manager.ts';
import type { Sequence } from '../domain/sequence.ts';
import type { KvStore, PublishHandle } from '../kv/index.ts';
import type { PrefixPlan } from './prefix-planner.ts';

/**
 * Publishes one sequence's blocks as they complete, in groups that fill an object. The blocks stay referenced until the engine
 * has been read, so neither eviction nor a new owner can touch them; the store's own queue is bounded and never waits.
 */
export class PublishTrack {
  private readonly kv: KvStore;
  private readonly blocks: BlockManager;
  private readonly plan: PrefixPlan;
  private readonly onReleased: () => void;
  private readonly handles: PublishHandle[] = [];
  /** First block not handed over yet. */
  private next: number;

  constructor(kv: KvStore, blocks: BlockManager, plan: PrefixPlan, onReleased: () => void) {
    this.kv = kv;
    this.blocks = blocks;
    this.plan = plan;
    this.onReleased = onReleased;
    this.next = plan.publishedBlocks;
  }

  /** How long a session keeps what it stores; undefined: the store's default. */
  get ttlSeconds(): number | undefined {
    return this.plan.ttlSeconds;
  }

  /** Blocks below `block` came from the store, or from a sequence here that publishes them itself. */
  skipTo(block: number): void {
    this.next = Math.max(this.next, block);
  }

  /** Blocks below `end` are complete. Whole groups go now; `last` sends the rest too. */
  advance(sequence: Sequence, end: number, last: boolean): void {
    if (!this.plan.write) return;
    const group = this.kv.blocksPerObject;
    while (this.next < end) {
      const groupEnd = Math.min(end, (Math.floor(this.next / group) + 1) * group);
      const full = groupEnd % group === 0;
      if (!full && !last) return;
      this.publish(sequence.blocks.slice(this.next, groupEnd), this.next, sequence.tokens);
      this.next = groupEnd;
    }
  }

  /** Publishes given blocks, whatever was handed over before. */
  publish(physical: readonly number[], firstBlock: number, tokens: readonly number[]): void {
    if (physical.length === 0) return;
    this.blocks.retain(physical);
    const handle = this.kv.publish({
      tenant: this.plan.tenant!,
      hashes: this.plan.chain.digestRange(0, firstBlock + physical.length),
      firstBlock,
      physicalBlocks: Uint32Array.from(physical),
      tokens,
      ttlSeconds: this.plan.ttlSeconds,
    });
    this.handles.push(handle);
    if (firstBlock > 0) {
      void handle.done.then((outcome) => {
        if (!outcome.ok && outcome.fault.kind === 'orphaned') this.publishChain(firstBlock + physical.length, tokens);
      });
    }
    void handle.exported.then(() => {
      this.blocks.release(physical);
      this.onReleased();
    });
  }

  /**
   * The store gave up parents that the device still holds, so it refuses their children: all of them are published from the chain's start,
   * of which the store takes what it lacks. Once for each refusal, as a publish from the start has no parents.
   */
  private publishChain(end: number, tokens: readonly number[]): void {
    const resident = this.blocks.residentPrefix(this.plan.chain.prefixNames(end));
    if (resident.length === end) this.publish(resident, 0, tokens);
  }

  /** Resolves when everything handed over has been published or has failed. */
  async settled(): Promise<void> {
    let count: number;
    do {
      count = this.handles.length;
      await Promise.all(this.handles.map((handle) => handle.done));
    } while (this.handles.length > count);
  }
}
