import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jsonFault, lineAndColumn } from './json-position.ts';

const DOCUMENTS = [
  '{"a":[1,-2.5e+3,true,null,"x\\n\\u00e9"],"b":{}}',
  ' [ ] ',
  '"text"',
  '0',
  '{"messages":[{"role":"user","content":"hi"}]}',
];

test('agrees with JSON.parse on every truncation and every single-character change', () => {
  for (const document of DOCUMENTS) {
    const variants = [document];
    for (let at = 0; at < document.length; at++) {
      variants.push(document.slice(0, at));
      for (const character of ['x', '"', ',', '}', ']', '\\', '\n', '0'])
        variants.push(`${document.slice(0, at)}${character}${document.slice(at + 1)}`);
    }
    for (const variant of variants) {
      let valid = true;
      try {
        JSON.parse(variant);
      } catch {
        valid = false;
      }
      assert.equal(jsonFault(variant) === undefined, valid, JSON.stringify(variant));
    }
  }
});

test('points at the first character at fault', () => {
  assert.equal(jsonFault('{"a": tru}'), 6);
  assert.equal(jsonFault('{"a": 1,}'), 8);
  assert.equal(jsonFault('{"a": 1'), 7);
  assert.equal(jsonFault('[1] x'), 4);
  assert.deepEqual(lineAndColumn('{\n  "a": ?\n}', 9), { line: 2, column: 8 });
});

test('does not follow hostile nesting', () => {
  assert.equal(jsonFault('['.repeat(100_000)), 513);
});

test('finds a fault behind an 8 MiB string', () => {
  const text = `["${'x\\n'.repeat(2 * 1024 * 1024)}" ?`;
  assert.equal(jsonFault(text), text.length - 1);
});
