import { BLOCK_TOKENS, type Codec, type KvDtype } from '@longshore/core';

/** Byte sizes inside one layer's section before sealing (docs/design/0001-stored-block-format.md). */
export interface SectionShape {
  kvHeads: number;
  headDim: number;
  kvDtype: KvDtype;
}

const DTYPE_BYTES: Record<KvDtype, number> = { bf16: 2, f32: 4 };
const SCALE_BYTES = 4;

/** One block of one layer in the engine's dtype: K and V. */
export function rawBlockBytes(shape: SectionShape, tokens: number): number {
  return 2 * shape.kvHeads * tokens * shape.headDim * DTYPE_BYTES[shape.kvDtype];
}

/** One block of one layer as stored. `blockIndex` is its place in the chain: block 0 stays raw under every codec. */
export function encodedBlockBytes(shape: SectionShape, codec: Codec, blockIndex: number, tokens: number): number {
  if (codec === 'raw' || blockIndex === 0) return rawBlockBytes(shape, tokens);
  const values = tokens * shape.headDim;
  return shape.kvHeads * (SCALE_BYTES * shape.headDim + values + SCALE_BYTES * tokens + values);
}

export interface SectionRange {
  start: number;
  end: number;
}

/** Where `count` blocks lie in a section of an object whose first block is `objectFirstBlock` in the chain. All blocks complete. */
export function blocksInSection(
  shape: SectionShape,
  codec: Codec,
  objectFirstBlock: number,
  indexInObject: number,
  count: number,
): SectionRange {
  const bytesBefore = (blocks: number) => {
    if (blocks === 0) return 0;
    const first = encodedBlockBytes(shape, codec, objectFirstBlock, BLOCK_TOKENS);
    return first + (blocks - 1) * encodedBlockBytes(shape, codec, objectFirstBlock + 1, BLOCK_TOKENS);
  };
  return { start: bytesBefore(indexInObject), end: bytesBefore(indexInObject + count) };
}

/** Stored bytes of one complete block over all layers, the largest kind (the chain's first) aside. */
export function storedBlockBytes(shape: SectionShape & { layers: number }, codec: Codec): number {
  return shape.layers * encodedBlockBytes(shape, codec, 1, BLOCK_TOKENS);
}
