import { BLOCK_TOKENS, type BlockMapRow, type Engine } from '@longshore/native';
import { HeadMeasures } from './head-measures.ts';

export interface PromptMeasures {
  heads: HeadMeasures;
  maps: BlockMapRow[];
}

export interface MeasureOptions {
  /** As MeasureRequest's; none: the engine's own. */
  policies?: readonly string[];
  /** Every which query block is measured. */
  every?: number;
  maps?: ReadonlyArray<readonly [layer: number, head: number]>;
  /** Query blocks before it are computed, not measured; a multiple of 128. */
  from?: number;
  /** Tokens of a step, at most the engine's. */
  chunk: number;
  cancel?: Int32Array;
  onProgress?: (tokens: number) => void;
}

/** Prefills `tokens` into `blocks`, which are the caller's, and measures attention on the way. Rejects as Engine.measure does. */
export async function measurePrompt(
  engine: Engine,
  tokens: Uint32Array,
  blocks: Uint32Array,
  options: MeasureOptions,
): Promise<PromptMeasures> {
  const { layers, heads } = engine.info;
  const policies = options.policies ?? [];
  const from = options.from ?? 0;
  const total = new HeadMeasures(Math.max(1, policies.length), layers, heads);
  const maps: BlockMapRow[] = [];
  const whole = Math.max(BLOCK_TOKENS, Math.floor(options.chunk / BLOCK_TOKENS) * BLOCK_TOKENS);
  for (let position = 0; position < tokens.length; ) {
    const until = position < from ? Math.min(from, position + whole) : position + whole;
    const item = { tokens: tokens.slice(position, until), position, blockTable: blocks };
    if (position < from) await engine.step([item], options.cancel);
    else {
      const request = {
        policies: [...policies],
        every: options.every ?? 1,
        maps: (options.maps ?? []).map(([layer, head]): [number, number] => [layer, head]),
      };
      const step = await engine.measure(item, request, options.cancel);
      total.add(step);
      maps.push(...step.maps);
    }
    position += item.tokens.length;
    options.onProgress?.(position);
  }
  return { heads: total, maps };
}
