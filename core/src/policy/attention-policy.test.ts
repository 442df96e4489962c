import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { attentionPolicySchema } from './attention-policy.ts';

const energy = { type: 'block_energy', alpha: 0.02, sink: 256, window: 512 };
const policy = (changes: object) => ({ format: 'longshore-attention-policy', version: 1, default: energy, ...changes });

test('fills in what a policy leaves out', () => {
  assert.deepEqual(attentionPolicySchema.parse(policy({})), {
    format: 'longshore-attention-policy',
    version: 1,
    min_tokens: 0,
    default: { ...energy, tau: 0, mean_correction: false, shared: false },
  });
});

test('takes exceptions by layer and by head', () => {
  const layers = [
    { layer: 0, default: { type: 'dense' }, heads: { '3': { type: 'a_shape', sink: 128, window: 1024 } } },
  ];
  assert.equal(attentionPolicySchema.parse(policy({ layers })).layers?.[0]?.heads?.['3']?.type, 'a_shape');
});

test('carries a decode policy', () => {
  const decode = { type: 'sketch_topk', min_tokens: 16_384 };
  assert.deepEqual(attentionPolicySchema.parse(policy({ decode })).decode, decode);
  assert.equal(
    attentionPolicySchema.safeParse(policy({ decode: { type: 'sketch_topk', blocks: 0.1 } })).success,
    false,
  );
});

test('every policy file of the repository is one', async () => {
  const folder = fileURLToPath(new URL('../../../test/golden/policies/', import.meta.url));
  const own = (await readdir(folder)).filter((name) => name.startsWith('tiny-'));
  assert.ok(own.length > 0);
  for (const name of own) attentionPolicySchema.parse(JSON.parse(await readFile(folder + name, 'utf8')));
  const measured = fileURLToPath(new URL('../../../native/engine/policy/models/', import.meta.url));
  const models = await readdir(measured);
  assert.ok(models.length > 0);
  for (const name of models) {
    const { shape } = attentionPolicySchema.parse(JSON.parse(await readFile(measured + name, 'utf8')));
    assert.ok(shape, `${name} does not say of which model it is the default`);
  }
});

test('refuses other formats, versions, types, members and values', () => {
  for (const bad of [
    policy({ format: 'other' }),
    policy({ version: 2 }),
    policy({ surprise: 1 }),
    policy({ default: { type: 'best' } }),
    policy({ default: { type: 'dense', alpha: 0.1 } }),
    policy({ default: { ...energy, alpha: 1.5 } }),
    policy({ default: { ...energy, window: 0 } }),
    policy({ min_tokens: -1 }),
    policy({ min_tokens: 0.5 }),
    policy({ layers: [{ layer: 0, heads: { x: { type: 'dense' } } }] }),
    policy({ default: undefined }),
  ])
    assert.equal(attentionPolicySchema.safeParse(bad).success, false, JSON.stringify(bad));
});
