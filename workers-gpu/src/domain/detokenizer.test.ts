import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Detokenizer } from './detokenizer.ts';

const encoder = new TextEncoder();

test('never cuts a character, wherever the bytes are split', () => {
  const text = 'aé漢😀 z﻿x';
  const bytes = encoder.encode(text);
  for (let size = 1; size <= 5; size++) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
      bytes.slice(index * size, (index + 1) * size),
    );
    const detokenizer = new Detokenizer((token) => pieces[token]);
    let out = '';
    for (let token = 0; token < pieces.length; token++) {
      const delta = detokenizer.push(token);
      assert.ok(!delta.includes('�'));
      out += delta;
      if (detokenizer.clean) assert.equal(text.startsWith(out), true);
    }
    assert.equal(out + detokenizer.flush(), text);
    assert.ok(detokenizer.clean);
  }
});

test('says whether the text so far covers the tokens so far', () => {
  const [first, second] = [Uint8Array.of(0xc3), Uint8Array.of(0xa9)];
  const detokenizer = new Detokenizer((token) => [first, second][token]);
  assert.equal(detokenizer.push(0), '');
  assert.equal(detokenizer.clean, false);
  assert.equal(detokenizer.push(1), 'é');
  assert.equal(detokenizer.clean, true);
});

test('replaces a character that never ends, and shows nothing for control tokens', () => {
  const detokenizer = new Detokenizer((token) => (token === 0 ? Uint8Array.of(0xe6, 0xbc) : undefined));
  assert.equal(detokenizer.push(0), '');
  assert.equal(detokenizer.push(1), '');
  assert.equal(detokenizer.flush(), '�');
});
