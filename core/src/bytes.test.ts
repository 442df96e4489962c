import assert from 'node:assert/strict';
import { test } from 'node:test';
import { equalBytes, fromHex, toHex, utf8 } from './bytes.ts';

test('hex round-trips every byte, in either case', () => {
  const all = Uint8Array.from({ length: 256 }, (_, index) => index);
  assert.equal(toHex(all), Buffer.from(all).toString('hex'));
  assert.deepEqual(fromHex(toHex(all)), all);
  assert.deepEqual(fromHex(toHex(all).toUpperCase()), all);
  assert.deepEqual(fromHex(''), new Uint8Array(0));
});

test('refuses text that is not pairs of hexadecimal digits', () => {
  for (const bad of ['a', 'xy', '0x00', ' 00 ', '0g']) assert.throws(() => fromHex(bad), RangeError);
});

test('equality looks at every byte and at the length', () => {
  const bytes = Uint8Array.from([1, 2, 3]);
  assert.ok(equalBytes(bytes, bytes.slice()));
  assert.equal(equalBytes(bytes, bytes.subarray(0, 2)), false);
  for (let index = 0; index < 3; index++) {
    const other = bytes.slice();
    other[index]! ^= 128;
    assert.equal(equalBytes(bytes, other), false);
  }
});

test('utf8 writes what TextEncoder writes', () => {
  assert.deepEqual([...utf8('é€😀')], [0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80]);
});
