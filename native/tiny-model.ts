import { fileURLToPath } from 'node:url';
import { type Engine, type EngineOptions, open, type StepItem } from './index.ts';

/** Random weights, 2 layers, 160 tokens, a context of 512: what the tests run on. Made by test/golden/make_tiny_models.py. */
export const tinyModel = fileURLToPath(new URL('../test/golden/tiny/llama', import.meta.url));
export const tinyGguf = fileURLToPath(new URL('../test/golden/tiny/llama.gguf', import.meta.url));

export function openTiny(options: Partial<EngineOptions> = {}): Promise<Engine> {
  return open({ model: tinyModel, kvBlocks: 8, threads: 2, ...options });
}

/** `count` pseudo-random token ids. */
export function someTokens(count: number, seed = 1): Uint32Array {
  return Uint32Array.from({ length: count }, (_, index) => (Math.imul(index + seed, 2654435761) >>> 9) % 160);
}

/** An engine and a step that takes about a second on it, in one thread of plain f32 code. */
export async function openSlow(): Promise<{ engine: Engine; items: StepItem[] }> {
  const sequences = 64;
  const engine = await openTiny({
    kvBlocks: 4 * sequences,
    maxBatchTokens: 65536,
    exact: true,
    isa: 'portable',
    threads: 1,
  });
  const items = Array.from({ length: sequences }, (_, index) => ({
    tokens: someTokens(500, index),
    position: 0,
    blockTable: Uint32Array.from({ length: 4 }, (_, block) => 4 * index + block),
    sample: true,
  }));
  return { engine, items };
}
