import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blockRanges, encodedBlockBounds, rawBlockBytes, sectionBounds, storedBlockBytes } from './section-layout.ts';

const shape = { kvHeads: 3, headDim: 64, kvDtype: 'bf16' as const };
const exactly = (bytes: number) => ({ least: bytes, most: bytes });

test('raw blocks are K and V in the dtype', () => {
  assert.equal(rawBlockBytes(shape, 128), 2 * 3 * 128 * 64 * 2);
  assert.equal(rawBlockBytes({ ...shape, kvDtype: 'f32' }, 5), 2 * 3 * 5 * 64 * 4);
  assert.deepEqual(encodedBlockBounds(shape, 'raw', 7, 5), exactly(rawBlockBytes(shape, 5)));
});

test('int8 blocks are a byte a value and their scales, but the first block of a chain is raw', () => {
  const int8 = 3 * (4 * 64 + 128 * 64 + 4 * 128 + 128 * 64);
  assert.deepEqual(encodedBlockBounds(shape, 'int8', 1, 128), exactly(int8));
  assert.deepEqual(encodedBlockBounds(shape, 'int8', 0, 128), exactly(rawBlockBytes(shape, 128)));
  assert.equal(storedBlockBytes({ ...shape, layers: 30 }, 'int8'), 30 * int8);
});

test('lossless blocks are never more than six bytes larger than raw ones', () => {
  assert.equal(encodedBlockBounds(shape, 'lossless', 0, 128).most, rawBlockBytes(shape, 128) + 6);
});

test('ranges of fixed blocks tile the section in order, with and without the first block', () => {
  for (const codec of ['raw', 'int8'] as const)
    for (const firstBlock of [0, 1, 9])
      for (const lastTokens of [128, 5]) {
        const blocks = { firstBlock, count: 5, lastTokens };
        const { least, most } = sectionBounds(shape, codec, blocks);
        assert.equal(least, most);
        const ranges = blockRanges(new Uint8Array(most), shape, codec, blocks)!;
        let end = 0;
        ranges.forEach((range, index) => {
          const tokens = index === 4 ? lastTokens : 128;
          assert.equal(range.start, end);
          assert.equal(range.end - range.start, encodedBlockBounds(shape, codec, firstBlock + index, tokens).most);
          end = range.end;
        });
        assert.equal(end, most);
        assert.equal(blockRanges(new Uint8Array(most - 1), shape, codec, blocks), undefined);
        assert.equal(blockRanges(new Uint8Array(most + 1), shape, codec, blocks), undefined);
      }
});

function sectionOf(lengths: number[]): Uint8Array {
  const section = new Uint8Array(lengths.reduce((sum, length) => sum + 4 + length, 0));
  const view = new DataView(section.buffer);
  let at = 0;
  for (const length of lengths) {
    view.setUint32(at, length, true);
    at += 4 + length;
  }
  return section;
}

test('ranges of blocks that vary in size follow their lengths', () => {
  const blocks = { firstBlock: 4, count: 3, lastTokens: 128 };
  assert.deepEqual(blockRanges(sectionOf([10, 1, 500]), shape, 'lossless', blocks), [
    { start: 0, end: 14 },
    { start: 14, end: 19 },
    { start: 19, end: 523 },
  ]);
});

test('a section whose lengths are absurd is not taken for blocks', () => {
  const blocks = { firstBlock: 4, count: 2, lastTokens: 128 };
  const most = encodedBlockBounds(shape, 'lossless', 4, 128).most - 4;
  const refused = (section: Uint8Array) => assert.equal(blockRanges(section, shape, 'lossless', blocks), undefined);
  assert.ok(blockRanges(sectionOf([most, 1]), shape, 'lossless', blocks));
  refused(sectionOf([most + 1, 1]));
  refused(sectionOf([0, 1]));
  refused(sectionOf([10]));
  refused(sectionOf([10, 10, 10]));
  refused(sectionOf([10, 10]).subarray(0, 20));
  refused(Uint8Array.of(...sectionOf([10, 10]), 0));
  refused(new Uint8Array(0));
  refused(new Uint8Array(40).fill(0xff));
});
