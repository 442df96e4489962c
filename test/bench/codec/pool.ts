import { BLOCK_TOKENS, type Codec, type Engine } from '@longshore/native';

/** What a prefix goes through before the answer is computed on it. `ulp`: each bf16 moved to a neighbour, the smallest change there is. */
export type Treatment = Codec | 'ulp';

/** Two lanes of blocks for each of `prompts` sequences: 0 keeps the prefix as computed, 1 takes what a codec gave back. */
export class Pool {
  readonly blocksEach: number;
  readonly size: number;
  private readonly prompts: number;

  constructor(prompts: number, tokensEach: number) {
    this.prompts = prompts;
    this.blocksEach = Math.ceil(tokensEach / BLOCK_TOKENS);
    this.size = 2 * prompts * this.blocksEach;
  }

  table(prompt: number, lane: 0 | 1): Uint32Array {
    const first = (lane * this.prompts + prompt) * this.blocksEach;
    return Uint32Array.from({ length: this.blocksEach }, (_, index) => first + index);
  }
}

export async function prefill(engine: Engine, tokens: Uint32Array, blockTable: Uint32Array): Promise<void> {
  for (let position = 0; position < tokens.length; position += 512)
    await engine.step([{ tokens: tokens.subarray(position, position + 512), position, blockTable }]);
}

/** Puts the first `blocks` blocks of one table, treated, into another. Resolves to the bytes they took between. */
export async function carry(
  engine: Engine,
  from: Uint32Array,
  to: Uint32Array,
  blocks: number,
  treatment: Treatment,
): Promise<number> {
  const codec = treatment === 'ulp' ? 'raw' : treatment;
  const { layers } = await engine.exportBlocks(from.slice(0, blocks), codec, 0);
  if (treatment === 'ulp') layers.forEach(moveByOneUlp);
  await engine.importBlocks(to.slice(0, blocks), codec, layers, 0);
  return layers.reduce((sum, layer) => sum + layer.length, 0);
}

/** Flips the lowest mantissa bit of every bf16. */
function moveByOneUlp(layer: Uint8Array): void {
  const values = new Uint16Array(layer.buffer, layer.byteOffset, layer.length / 2);
  for (let index = 0; index < values.length; index++) values[index]! ^= 1;
}
