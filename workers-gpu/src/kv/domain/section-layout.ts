import { BLOCK_TOKENS, type Codec, type KvDtype } from '@longshore/core';

/** Byte sizes inside one layer's section before sealing (docs/design/0001-stored-block-format.md, 0011-codecs.md). */
export interface SectionShape {
  kvHeads: number;
  headDim: number;
  kvDtype: KvDtype;
}

/** Consecutive blocks of a chain in one section. */
export interface SectionBlocks {
  /** Place of the first one in the chain. */
  firstBlock: number;
  count: number;
  /** Of the last block, 1..128; the others are complete. */
  lastTokens: number;
}

export interface ByteBounds {
  least: number;
  most: number;
}

export interface SectionRange {
  start: number;
  end: number;
}

const DTYPE_BYTES: Record<KvDtype, number> = { bf16: 2, f32: 4 };
const SCALE_BYTES = 4;
/** Before each block of a codec whose blocks vary in size: a u32, the bytes that follow it. */
const LENGTH_BYTES = 4;
/** Before each half (keys, values) of such a block: how it is stored. What does not shrink is stored as it is. */
const KIND_BYTES = 1;

/** One block of one layer in the engine's dtype: K and V. */
export function rawBlockBytes(shape: SectionShape, tokens: number): number {
  return 2 * shape.kvHeads * tokens * shape.headDim * DTYPE_BYTES[shape.kvDtype];
}

function hasFixedSize(codec: Codec): boolean {
  return codec === 'raw' || codec === 'int8';
}

/** One block of one layer as stored. `blockIndex` is its place in the chain: block 0 is never quantized. */
export function encodedBlockBounds(shape: SectionShape, codec: Codec, blockIndex: number, tokens: number): ByteBounds {
  const raw = rawBlockBytes(shape, tokens);
  if (!hasFixedSize(codec)) return { least: LENGTH_BYTES + 1, most: LENGTH_BYTES + 2 * KIND_BYTES + raw };
  const values = tokens * shape.headDim;
  const int8 = shape.kvHeads * (SCALE_BYTES * shape.headDim + values + SCALE_BYTES * tokens + values);
  const bytes = codec === 'raw' || blockIndex === 0 ? raw : int8;
  return { least: bytes, most: bytes };
}

function tokensOf(blocks: SectionBlocks, index: number): number {
  return index === blocks.count - 1 ? blocks.lastTokens : BLOCK_TOKENS;
}

/** What bounds the memory for a section before its bytes are there. */
export function sectionBounds(shape: SectionShape, codec: Codec, blocks: SectionBlocks): ByteBounds {
  const bounds = { least: 0, most: 0 };
  for (let index = 0; index < blocks.count; index++) {
    const block = encodedBlockBounds(shape, codec, blocks.firstBlock + index, tokensOf(blocks, index));
    bounds.least += block.least;
    bounds.most += block.most;
  }
  return bounds;
}

/** Where each block of a section lies, end to end; undefined when the section does not consist of these blocks. */
export function blockRanges(
  section: Uint8Array,
  shape: SectionShape,
  codec: Codec,
  blocks: SectionBlocks,
): SectionRange[] | undefined {
  const view = new DataView(section.buffer, section.byteOffset, section.byteLength);
  const ranges: SectionRange[] = [];
  let start = 0;
  for (let index = 0; index < blocks.count; index++) {
    const { least, most } = encodedBlockBounds(shape, codec, blocks.firstBlock + index, tokensOf(blocks, index));
    if (start + least > section.length) return undefined;
    const size = hasFixedSize(codec) ? most : LENGTH_BYTES + view.getUint32(start, true);
    if (size < least || size > most || start + size > section.length) return undefined;
    ranges.push({ start, end: start + size });
    start += size;
  }
  return start === section.length ? ranges : undefined;
}

/**
 * Stored bytes of one complete block over all layers, the chain's first aside: what objects are planned with. Exact where the size
 * is fixed; else the most, so that no object outgrows its limit.
 */
export function storedBlockBytes(shape: SectionShape & { layers: number }, codec: Codec): number {
  return shape.layers * encodedBlockBounds(shape, codec, 1, BLOCK_TOKENS).most;
}
