import { BLOCK_TOKENS, type Codec } from '@longshore/core';
import { EngineError } from '@longshore/native';
import { blockRanges, encodedBlockBounds } from '../domain/section-layout.ts';
import type { KvEngine, KvShape } from '../kv-store.ts';

/**
 * A pool of KV blocks without a model. What it does not do: encode. A filled block's bytes under each codec are noise of the right
 * size drawn from its content number, layer, codec and tokens, so that an import can be compared byte for byte with what the same
 * content exports; int8 is not derived from raw.
 */
export interface FakeEngine extends KvEngine {
  /** Gives a physical block a content. */
  fill(block: number, content: number): void;
  /** The imported bytes of a block, by layer; undefined when nothing was imported into it. */
  imported(block: number): Uint8Array[] | undefined;
  expected(content: number, layer: number, codec: Codec, blockIndex: number, tokens?: number): Uint8Array;
  exports: number;
  imports: number;
  /** The next export rejects with this. */
  failNextExport?: Error;
}

export function createFakeEngine(shape: KvShape): FakeEngine {
  const contents = new Map<number, number>();
  const imports = new Map<number, Uint8Array[]>();

  const expected: FakeEngine['expected'] = (content, layer, codec, blockIndex, tokens = BLOCK_TOKENS) => {
    const { least, most } = encodedBlockBounds(shape, codec, blockIndex, tokens);
    const plain = codec === 'raw' || (codec === 'int8' && blockIndex === 0);
    let state = (content * 7919 + layer * 104729 + (plain ? 1 : 2) * 1299709 + tokens) >>> 0 || 1;
    const bytes = new Uint8Array(least + (state % (most - least + 1)));
    // A block that varies in size begins with how many bytes follow.
    const noiseFrom = least === most ? 0 : 4;
    if (noiseFrom > 0) new DataView(bytes.buffer).setUint32(0, bytes.length - noiseFrom, true);
    for (let index = noiseFrom; index < bytes.length; index++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      bytes[index] = state;
    }
    return bytes;
  };
  const tokensOf = (blocks: Uint32Array, index: number, lastTokens: number) =>
    index === blocks.length - 1 ? lastTokens : BLOCK_TOKENS;

  const engine: FakeEngine = {
    exports: 0,
    imports: 0,
    fill: (block, content) => void contents.set(block, content),
    imported: (block) => imports.get(block),
    expected,
    async exportBlocks(blocks, codec, firstToken, lastTokens = BLOCK_TOKENS) {
      await new Promise((resolve) => setImmediate(resolve));
      const failure = engine.failNextExport;
      engine.failNextExport = undefined;
      if (failure) throw failure;
      engine.exports++;
      const layers = Array.from({ length: shape.layers }, (_, layer) =>
        Buffer.concat(
          Array.from(blocks, (block, index) => {
            const content = contents.get(block);
            if (content === undefined) throw new EngineError('invalid_argument', `block ${block} was never filled`);
            const tokens = tokensOf(blocks, index, lastTokens);
            return expected(content, layer, codec, firstToken / BLOCK_TOKENS + index, tokens);
          }),
        ),
      );
      return { layers, rawBytes: layers.reduce((sum, layer) => sum + layer.length, 0) };
    },
    async importBlocks(blocks, codec, layers, firstToken, lastTokens = BLOCK_TOKENS) {
      if (layers.length !== shape.layers) throw new EngineError('corrupt', 'layer count');
      const parts: Uint8Array[][] = Array.from(blocks, () => []);
      const wanted = { firstBlock: firstToken / BLOCK_TOKENS, count: blocks.length, lastTokens };
      for (const layer of layers) {
        const ranges = blockRanges(layer, shape, codec, wanted);
        if (!ranges) throw new EngineError('corrupt', 'section size');
        ranges.forEach(({ start, end }, index) => {
          parts[index]!.push(new Uint8Array(layer.subarray(start, end)));
        });
      }
      await new Promise((resolve) => setImmediate(resolve));
      engine.imports++;
      blocks.forEach((block, index) => {
        imports.set(block, parts[index]!);
      });
    },
  };
  return engine;
}
