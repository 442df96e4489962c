import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chainHashes } from '@longshore/core';
import { contradictsSlice, type DirectoryRow, sliceRun } from './slices.ts';

const root = new Uint8Array(32).fill(9);
const hashes = chainHashes(
  root,
  Array.from({ length: 128 * 8 }, (_, index) => index),
);
const window = { hashes, root, from: 0, rawBlockBytes: 100 };

/** Two objects of 4 blocks. */
const rows = (change: (row: DirectoryRow, index: number) => void = () => {}): DirectoryRow[] =>
  hashes.map((hash, index) => {
    const row: DirectoryRow = {
      hash,
      objectKey: index < 4 ? 'a' : 'b',
      indexInObject: index % 4,
      state: 'ready',
      expired: false,
      objectFirstToken: index < 4 ? 0 : 512,
      objectTokenCount: 512,
      storedBytes: 10,
    };
    change(row, index);
    return row;
  });

test('a whole chain becomes one slice per object', () => {
  const hit = sliceRun(window, rows().reverse());
  assert.deepEqual(
    hit.slices.map((slice) => [slice.key, slice.firstBlock, slice.hashes.length, slice.indexInObject, slice.rawBytes]),
    [
      ['a', 0, 4, 0, 400],
      ['b', 4, 4, 0, 400],
    ],
  );
  assert.equal(hit.slices[0]!.parentHash, root);
  assert.equal(hit.slices[1]!.parentHash, hashes[3]);
  assert.deepEqual([hit.blockCount, hit.storedBytes, hit.endedBy], [8, 20, 'complete']);
});

test('starts in the middle of an object when earlier blocks are resident', () => {
  const hit = sliceRun({ ...window, from: 2 }, rows());
  assert.deepEqual([hit.slices[0]!.firstBlock, hit.slices[0]!.indexInObject, hit.slices[0]!.hashes.length], [2, 2, 2]);
  assert.equal(hit.slices[0]!.parentHash, hashes[1]);
  assert.equal(hit.blockCount, 6);
});

test('ends at the first unreadable block and says why', () => {
  for (let at = 0; at < 8; at++) {
    const missing = sliceRun(
      window,
      rows().filter((_, index) => index !== at),
    );
    assert.deepEqual([missing.blockCount, missing.endedBy], [at, 'never_seen']);
    const cases = [
      { change: { state: 'quarantined' as const }, endedBy: 'quarantined' },
      { change: { state: 'tombstone' as const, retiredReason: 'expired' }, endedBy: 'expired' },
      { change: { state: 'tombstone' as const, retiredReason: 'evicted' }, endedBy: 'evicted' },
      { change: { state: 'tombstone' as const, retiredReason: 'removed' }, endedBy: 'deleted' },
      { change: { state: 'tombstone' as const, retiredReason: 'lost_race' }, endedBy: 'never_seen' },
      { change: { state: 'reserved' as const }, endedBy: 'never_seen' },
      { change: { expired: true }, endedBy: 'expired' },
    ];
    for (const { change, endedBy } of cases) {
      const hit = sliceRun(
        window,
        rows((row, index) => {
          if (index === at) Object.assign(row, change);
        }),
      );
      assert.deepEqual([hit.blockCount, hit.endedBy], [at, endedBy]);
    }
  }
});

test('a row that contradicts its place in the chain is no hit', () => {
  const hit = sliceRun(
    window,
    rows((row, index) => {
      if (index === 3) row.indexInObject = 2;
    }),
  );
  assert.equal(hit.blockCount, 3);
});

test('a header must agree with the chain in every point', () => {
  const slice = sliceRun({ ...window, from: 5 }, rows()).slices[0];
  assert.ok(slice);
  const header = {
    firstToken: 512,
    tokenCount: 512,
    partial: false,
    parentHash: hashes[3]!,
    blockHashes: hashes.slice(4),
  };
  assert.equal(contradictsSlice(slice, header), undefined);
  const other = new Uint8Array(32);
  const swap = (index: number) => header.blockHashes.map((hash, at) => (at === index ? other : hash));
  assert.match(contradictsSlice(slice, { ...header, partial: true })!, /partial/);
  assert.match(contradictsSlice(slice, { ...header, firstToken: 0 })!, /first token/);
  assert.match(contradictsSlice(slice, { ...header, blockHashes: hashes.slice(4, 7) })!, /block count/);
  assert.match(contradictsSlice(slice, { ...header, blockHashes: swap(0) })!, /parent/);
  for (const index of [1, 2, 3])
    assert.match(contradictsSlice(slice, { ...header, blockHashes: swap(index) })!, new RegExp(`block ${4 + index} `));
});
