import { BLOCK_TOKENS, toHex } from '@longshore/core';
import type { Scheduler } from '../domain/scheduler.ts';
import type { Sequence } from '../domain/sequence.ts';
import type { KvStore, TenantKeys } from '../kv/index.ts';
import type { PublishTrack } from './publish-track.ts';

/** A finished sequence's blocks, held for the session until they are stored. */
export interface HeldKv {
  sequence: Sequence;
  /** Physical blocks, the partial last one included. */
  physical: number[];
  /** Tokens whose KV they hold. */
  endToken: number;
}

export interface KeptKv {
  /** Tokens that a later turn can restore. */
  keptTokens: number;
  tailObjectKey: string | null;
  /** Chain hash of the last whole block among them. */
  headHash: Uint8Array | null;
}

export const NOTHING_KEPT: KeptKv = { keptTokens: 0, tailObjectKey: null, headHash: null };

/** Puts all of a session's KV into the store: whole blocks into the shared chain, the partial last one under the session. */
export class SessionKeeper {
  private readonly kv: KvStore;
  private readonly scheduler: Scheduler;
  private readonly onReleased: () => void;

  constructor(kv: KvStore, scheduler: Scheduler, onReleased: () => void) {
    this.kv = kv;
    this.scheduler = scheduler;
    this.onReleased = onReleased;
  }

  /** Called while the sequence still has its blocks. The tail stays findable on the device for the next turn here. */
  hold(sequence: Sequence, endToken: number): HeldKv {
    const physical = sequence.blocks.slice(0, Math.ceil(endToken / BLOCK_TOKENS));
    const { blocks } = this.scheduler;
    blocks.retain(physical);
    const tail = endToken % BLOCK_TOKENS === 0 ? undefined : physical.at(-1);
    if (tail !== undefined && sequence.shareBlocks && sequence.registered < physical.length) {
      blocks.register(tail, toHex(sequence.chain.tailDigest(sequence.tokens, endToken)));
    }
    return { sequence, physical, endToken };
  }

  release(held: HeldKv): void {
    this.scheduler.blocks.release(held.physical);
    this.onReleased();
  }

  /** Resolves when everything is stored or has failed; a store that is down costs the next turn time, nothing else. */
  async store(held: HeldKv, tenant: TenantKeys, sessionId: string, track: PublishTrack): Promise<KeptKv> {
    await track.settled();
    const wholeBlocks = Math.floor(held.endToken / BLOCK_TOKENS);
    const [stored, tail] = await Promise.all([
      this.storeBlocks(held, tenant, wholeBlocks, track),
      this.storeTail(held, tenant, sessionId, wholeBlocks, track.ttlSeconds),
    ]);
    const whole = stored === wholeBlocks;
    const headHash = stored === 0 ? null : held.sequence.chain.parentOf(stored);
    if (!whole || tail === undefined) return { keptTokens: stored * BLOCK_TOKENS, tailObjectKey: null, headHash };
    return { keptTokens: held.endToken, tailObjectKey: tail.objectKey, headHash };
  }

  /** How many leading blocks the directory knows in the end. Blocks that were only resident so far are published now. */
  private async storeBlocks(
    held: HeldKv,
    tenant: TenantKeys,
    wholeBlocks: number,
    track: PublishTrack,
  ): Promise<number> {
    if (wholeBlocks === 0) return 0;
    const hashes = held.sequence.chain.digestRange(0, wholeBlocks);
    for (let attempt = 0; attempt < 2; attempt++) {
      const outcome = await this.kv.lookup({ tenant, hashes, ttlSeconds: track.ttlSeconds });
      if (!outcome.ok) return 0;
      const { blockCount, slices } = outcome.value;
      if (attempt === 0 && slices.length > 0) {
        void this.kv.touch(tenant, hashes.slice(0, blockCount), track.ttlSeconds);
      }
      if (blockCount === wholeBlocks || attempt === 1) return blockCount;
      track.publish(held.physical.slice(blockCount, wholeBlocks), blockCount, held.sequence.tokens);
      await track.settled();
    }
    return 0;
  }

  private async storeTail(
    held: HeldKv,
    tenant: TenantKeys,
    sessionId: string,
    wholeBlocks: number,
    ttlSeconds: number | undefined,
  ): Promise<{ objectKey: string | null } | undefined> {
    const firstToken = wholeBlocks * BLOCK_TOKENS;
    if (held.endToken === firstToken) return { objectKey: null };
    const { chain, tokens } = held.sequence;
    const outcome = await this.kv.putTail({
      tenant,
      sessionId,
      parentHash: chain.parentOf(wholeBlocks),
      hash: chain.tailDigest(tokens, held.endToken),
      firstToken,
      tokenCount: held.endToken - firstToken,
      physicalBlock: held.physical[wholeBlocks]!,
      ttlSeconds,
    });
    return outcome.ok ? outcome.value : undefined;
  }
}
