import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blocksPerObject, planObjects, TARGET_OBJECT_BYTES } from './object-plan.ts';

test('objects of several blocks stay between half and twice the target', () => {
  for (let bytes = 1000; bytes < TARGET_OBJECT_BYTES / 2; bytes = Math.ceil(bytes * 1.37)) {
    const count = blocksPerObject(bytes);
    assert.ok(count === 4096 || count * bytes >= TARGET_OBJECT_BYTES / 2, `${bytes}`);
    assert.ok(count * bytes <= 2 * TARGET_OBJECT_BYTES, `${bytes}`);
  }
  assert.equal(blocksPerObject(100 * TARGET_OBJECT_BYTES), 1);
});

test('covers exactly what is missing, in order, without gaps inside a run', () => {
  for (let mask = 0; mask < 1 << 9; mask++)
    for (const limit of [1, 2, 3, 9]) {
      const isStored = (index: number) => (mask & (1 << index)) !== 0;
      const runs = planObjects(9, isStored, limit);
      const covered = runs.flatMap((run) => Array.from({ length: run.count }, (_, index) => run.start + index));
      assert.deepEqual(
        covered,
        Array.from({ length: 9 }, (_, index) => index).filter((index) => !isStored(index)),
      );
      assert.ok(runs.every((run) => run.count >= 1 && run.count <= limit));
    }
});
