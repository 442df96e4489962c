import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseMasterKey, unwrapSecret, wrapSecret } from './key-wrap.ts';

const masterKey = parseMasterKey('0123456789abcdef'.repeat(4));
const secret = Uint8Array.from({ length: 32 }, (_, index) => index);

test('unwraps what it wrapped, and never wraps twice to the same bytes', async () => {
  const [first, second] = [await wrapSecret(masterKey, secret, 'c'), await wrapSecret(masterKey, secret, 'c')];
  assert.notDeepEqual(first, second);
  assert.deepEqual(await unwrapSecret(masterKey, first, 'c'), secret);
  assert.deepEqual(await unwrapSecret(masterKey, second, 'c'), secret);
});

test('refuses every single flipped byte, another context and a truncated secret', async () => {
  const wrapped = await wrapSecret(masterKey, secret, 'c');
  for (let index = 0; index < wrapped.length; index++) {
    const damaged = wrapped.slice();
    damaged[index]! ^= 1;
    await assert.rejects(unwrapSecret(masterKey, damaged, 'c'), { code: 'internal' });
  }
  await assert.rejects(unwrapSecret(masterKey, wrapped, 'd'), { code: 'internal' });
  await assert.rejects(unwrapSecret(masterKey, wrapped.subarray(0, 20), 'c'), { code: 'internal' });
});

test('a master key that is not 64 hexadecimal digits is refused with the remedy', () => {
  for (const bad of ['', 'abc', 'g'.repeat(64), '0'.repeat(63), '0'.repeat(66)])
    assert.throws(() => parseMasterKey(bad), { code: 'invalid_request', message: /openssl rand -hex 32/ });
});
