import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blocksInSection, encodedBlockBytes, rawBlockBytes, storedBlockBytes } from './section-layout.ts';

const shape = { kvHeads: 3, headDim: 64, kvDtype: 'bf16' as const };

test('raw blocks are K and V in the dtype', () => {
  assert.equal(rawBlockBytes(shape, 128), 2 * 3 * 128 * 64 * 2);
  assert.equal(rawBlockBytes({ ...shape, kvDtype: 'f32' }, 5), 2 * 3 * 5 * 64 * 4);
  assert.equal(encodedBlockBytes(shape, 'raw', 7, 5), rawBlockBytes(shape, 5));
});

test('int8 blocks are a byte a value and their scales, but the first block of a chain is raw', () => {
  assert.equal(encodedBlockBytes(shape, 'int8', 1, 128), 3 * (4 * 64 + 128 * 64 + 4 * 128 + 128 * 64));
  assert.equal(encodedBlockBytes(shape, 'int8', 0, 128), rawBlockBytes(shape, 128));
  assert.equal(storedBlockBytes({ ...shape, layers: 30 }, 'int8'), 30 * encodedBlockBytes(shape, 'int8', 1, 128));
});

test('ranges of blocks tile the section in order, with and without the first block', () => {
  for (const codec of ['raw', 'int8'] as const)
    for (const objectFirstBlock of [0, 1, 9]) {
      let end = 0;
      for (let index = 0; index < 5; index++) {
        const range = blocksInSection(shape, codec, objectFirstBlock, index, 1);
        assert.equal(range.start, end);
        assert.equal(range.end - range.start, encodedBlockBytes(shape, codec, objectFirstBlock + index, 128));
        end = range.end;
      }
      assert.deepEqual(blocksInSection(shape, codec, objectFirstBlock, 0, 5), { start: 0, end });
    }
});
