import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PrefixIndex } from './prefix-index.ts';

const worker = (workerId: string, epoch = 'e') => ({ workerId, epoch });
const epochs = new Map([
  ['a', 'e'],
  ['b', 'e'],
  ['c', 'e'],
  ['d', 'e'],
]);

test('gives each holder the longest prefix that it holds', () => {
  const index = new PrefixIndex();
  index.record(['1', '2', '3'], worker('a'));
  index.record(['1', '2'], worker('b'));
  assert.deepEqual([...index.match(['1', '2', '3', '4'], epochs)].sort(), [
    ['a', 3],
    ['b', 2],
  ]);
});

test('ignores holders of another epoch', () => {
  const index = new PrefixIndex();
  index.record(['1'], worker('a', 'old'));
  assert.equal(index.match(['1'], epochs).size, 0);
});

test('remembers the newest three holders of a prefix', () => {
  const index = new PrefixIndex();
  for (const id of ['a', 'b', 'c', 'd']) index.record(['1'], worker(id));
  assert.deepEqual([...index.match(['1'], epochs).keys()].sort(), ['b', 'c', 'd']);
});

test('never holds more than its bound and forgets the least recently used', () => {
  const index = new PrefixIndex(10);
  index.record(['keep'], worker('a'));
  for (let round = 0; round < 50; round++) {
    index.record([`${round}`], worker('a'));
    index.record(['keep'], worker('a'));
    assert.ok(index.size <= 10);
  }
  assert.equal(index.match(['keep'], epochs).get('a'), 1);
  assert.equal(index.match(['0'], epochs).size, 0);
});
