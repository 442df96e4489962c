import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { displayApiKey, formatApiKey, hashApiKey, isWellFormedApiKey } from './api-key.ts';

const key = formatApiKey(Uint8Array.from({ length: 32 }, (_, index) => 255 - index));

test('a key has its prefix, 43 characters of secret and 6 of checksum', () => {
  assert.match(key, /^lsk_live_[0-9A-Za-z]{49}$/);
  assert.ok(isWellFormedApiKey(key));
  assert.ok(isWellFormedApiKey(formatApiKey(new Uint8Array(32))));
  assert.ok(isWellFormedApiKey(formatApiKey(new Uint8Array(32).fill(255))));
  assert.throws(() => formatApiKey(new Uint8Array(31)), RangeError);
});

test('every bit of the secret reaches the key', () => {
  const seen = new Set<string>();
  for (let bit = 0; bit < 256; bit++) {
    const random = new Uint8Array(32);
    random[bit >> 3] = 1 << (bit & 7);
    seen.add(formatApiKey(random).slice(0, -6));
  }
  assert.equal(seen.size, 256);
});

test('the checksum catches every single changed character and every swap of neighbours', () => {
  const from = 'lsk_live_'.length;
  for (let index = from; index < key.length; index++) {
    const changed = key[index] === 'a' ? 'b' : 'a';
    assert.equal(isWellFormedApiKey(key.slice(0, index) + changed + key.slice(index + 1)), false);
    const next = key[index + 1];
    if (next === undefined || next === key[index]) continue;
    assert.equal(isWellFormedApiKey(key.slice(0, index) + next + key[index] + key.slice(index + 2)), false);
  }
});

test('refuses other shapes without throwing', () => {
  for (const bad of ['', 'lsk_live_', key.slice(0, -1), `${key}0`, ` ${key}`, key.replace('live', 'test'), 'sk-abc'])
    assert.equal(isWellFormedApiKey(bad), false, bad);
});

test('stores the SHA-256 of the whole key and displays too little to use it', () => {
  assert.equal(hashApiKey(key), createHash('sha256').update(key).digest('hex'));
  const display = displayApiKey(key);
  assert.ok(display.length < 20 && display.startsWith('lsk_live_') && !key.includes(display));
});
