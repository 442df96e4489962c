import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { attentionPolicySchema, type HeadPolicy } from '@longshore/core';
import { type Engine, open } from '@longshore/native';
import { searchPatterns } from './search.ts';
import { searchReport } from './search-report.ts';

const model = fileURLToPath(new URL('../../../infra/fixture-model', import.meta.url));
const TOKENS = 640;
const candidates: HeadPolicy[] = [
  { type: 'dense' },
  { type: 'a_shape', sink: 0, window: 128 },
  { type: 'a_shape', sink: 128, window: 256 },
];
const base = { candidates, minTokens: 256, every: 1, chunk: 256 };

let engine: Engine;
let tokens: Uint32Array;
before(async () => {
  engine = await open({ model, kvBlocks: 5, maxBatchTokens: 256, threads: 1 });
  tokens = Uint32Array.from({ length: TOKENS }, (_, index) => (index * 7919 + 13) % engine.info.vocab);
});
after(() => engine.close());

test('without any tolerance every head is dense, and the policy file says so', async () => {
  const { policy, chosen, density } = await searchPatterns(engine, tokens, {
    ...base,
    limits: { error: 0, recall: 1 },
  });
  assert.deepEqual(new Set(chosen.flat()), new Set([0]));
  assert.equal(policy.default.type, 'dense');
  assert.equal(density, 1);
});

test('with every tolerance heads take cheaper candidates, and the engine opens with the policy', async () => {
  const options = { ...base, limits: { error: 1, recall: 0 } };
  const result = await searchPatterns(engine, tokens, options);
  assert.ok(result.density < 1, `density ${result.density}`);
  assert.ok(result.chosen.flat().some((index) => index !== 0));
  assert.deepEqual(attentionPolicySchema.parse(result.policy), result.policy);
  const sparse = await open({
    model,
    kvBlocks: 5,
    maxBatchTokens: 256,
    threads: 1,
    policy: JSON.stringify(result.policy),
  });
  assert.match(sparse.info.policyJson, /a_shape/);
  await sparse.close();
  const files = searchReport('fixture', TOKENS, options, result);
  assert.deepEqual([...files.keys()], ['report.md', 'mass.svg', 'density.svg', 'distant.svg']);
  assert.match(files.get('report.md')!, /a_shape 0 128/);
});

test('a text that ends before the policy begins is refused', async () => {
  await assert.rejects(
    searchPatterns(engine, tokens.slice(0, 256), { ...base, limits: { error: 1, recall: 0 } }),
    /longer text/,
  );
});
