import { BLOCK_TOKENS } from '@longshore/core';
import type { Engine } from '@longshore/native';
import type { PrefillSpeed } from '../domain/prefill-speed.ts';

/** Far enough into a context that the cost of attending to it shows. */
const FAR_TOKENS = 4096;

/**
 * Prefills a block at the start of a context and one far into it, of whatever the pool holds, so that the first decision between
 * loading and computing rests on this machine's speed. Before the engine serves: it writes blocks that nobody owns yet.
 */
export async function calibratePrefill(
  engine: Pick<Engine, 'step' | 'info'>,
  kvBlocks: number,
  maxBatchTokens: number,
  speed: PrefillSpeed,
  now: () => number,
): Promise<void> {
  const { vocab, contextLength } = engine.info;
  const count = Math.min(BLOCK_TOKENS, maxBatchTokens);
  const reach = Math.min(FAR_TOKENS, contextLength, kvBlocks * BLOCK_TOKENS);
  if (reach < count) return;
  const tokens = Uint32Array.from({ length: count }, (_, index) => (index * 7919) % vocab);
  const prefill = async (position: number) => {
    const blockTable = Uint32Array.from({ length: Math.ceil((position + count) / BLOCK_TOKENS) }, (_, index) => index);
    const startedAt = now();
    await engine.step([{ tokens, position, blockTable }]);
    return now() - startedAt;
  };
  await prefill(0); // first touches of weights and scratch
  speed.observe(0, count, await prefill(0));
  const far = Math.floor((reach - count) / BLOCK_TOKENS) * BLOCK_TOKENS;
  if (far > 0) speed.observe(far, count, await prefill(far));
}
