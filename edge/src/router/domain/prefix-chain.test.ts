import assert from 'node:assert/strict';
import { test } from 'node:test';
import { charactersCovered, MAX_CHAIN, prefixChain } from './prefix-chain.ts';

const text = (value: string) => ({ kind: 'text' as const, text: value });

test('prompts share exactly the hashes of the chunks that they share', () => {
  const base = 'abcdefgh'.repeat(1024);
  const one = prefixChain('o', 'm', text(base)).chain;
  assert.equal(one.length, 3 + 3);
  assert.equal(charactersCovered(one.length), 8192);
  for (const at of [0, 511, 512, 1023, 2047, 2048, 4095, 8191]) {
    const changed = `${base.slice(0, at)}X${base.slice(at + 1)}`;
    const other = prefixChain('o', 'm', text(changed)).chain;
    const shared = one.filter((hash, index) => other[index] === hash).length;
    const expected = one.filter((_, index) => charactersCovered(index + 1) <= at).length;
    assert.equal(shared, expected, `change at ${at}`);
  }
});

test('organizations, models and kinds of input share nothing', () => {
  const long = 'x'.repeat(600);
  const chains = [
    prefixChain('o', 'm', text(long)),
    prefixChain('p', 'm', text(long)),
    prefixChain('o', 'n', text(long)),
    prefixChain('o', 'm', { kind: 'messages', messages: [{ role: 'user', content: long }] }),
  ].map(({ chain }) => chain[0]);
  assert.equal(new Set(chains).size, chains.length);
});

test('a conversation that goes on keeps its chain', () => {
  const document = { role: 'user' as const, content: 'word '.repeat(2000) };
  const before = prefixChain('o', 'm', { kind: 'messages', messages: [document] }).chain;
  const after = prefixChain('o', 'm', {
    kind: 'messages',
    messages: [document, { role: 'assistant', content: 'yes' }, { role: 'user', content: 'and?' }],
  }).chain;
  assert.deepEqual(after.slice(0, before.length), before);
});

test('is empty below the first boundary and bounded above', () => {
  assert.deepEqual(prefixChain('o', 'm', text('x'.repeat(511))).chain, []);
  assert.equal(prefixChain('o', 'm', text('x'.repeat(511))).characters, 511);
  assert.equal(prefixChain('o', 'm', text('x'.repeat(4_000_000))).chain.length, MAX_CHAIN);
});

test('hashes of many different prompts differ', () => {
  const seen = new Set<string>();
  for (let index = 0; index < 20_000; index++)
    seen.add(prefixChain('o', 'm', text(`${index}`.padEnd(512, '.'))).chain[0]!);
  assert.equal(seen.size, 20_000);
});
