import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CanonicalValue, canonicalJson } from './canonical-json.ts';

test('sorts keys by code unit at every depth and writes no space', () => {
  const value = { b: 1, a: { d: [1, { z: null, y: true }], c: 'x' }, B: 2, é: 3, '10': 4, '9': 5 };
  assert.equal(canonicalJson(value), '{"10":4,"9":5,"B":2,"a":{"c":"x","d":[1,{"y":true,"z":null}]},"b":1,"é":3}');
});

test('the order in which keys were set does not show', () => {
  assert.equal(canonicalJson({ a: 1, b: 2, c: 3 }), canonicalJson({ c: 3, a: 1, b: 2 }));
});

test('sorts by code unit, not by code point: a surrogate pair stands before U+FFFD', () => {
  assert.equal(canonicalJson({ '\uFFFD': 1, '😀': 2 }), '{"😀":2,"\uFFFD":1}');
});

test('escapes as JSON does and writes minus zero as zero', () => {
  assert.equal(canonicalJson('a"\\\n\u0001'), '"a\\"\\\\\\n\\u0001"');
  assert.equal(canonicalJson(-0), '0');
  assert.equal(canonicalJson(Number.MAX_SAFE_INTEGER), '9007199254740991');
});

test('refuses fractions, unsafe integers, NaN and what JSON has no word for', () => {
  for (const bad of [0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY])
    assert.throws(() => canonicalJson(bad), TypeError);
  for (const bad of [undefined, () => 1, Symbol('s'), 1n])
    assert.throws(() => canonicalJson({ a: bad as unknown as CanonicalValue }), TypeError);
});
