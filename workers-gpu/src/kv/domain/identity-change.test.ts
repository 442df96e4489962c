import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changesBetween, nearestChange, type RecordedIdentity } from './identity-change.ts';

const OWN: RecordedIdentity = {
  weights: 'sha256:aa',
  config: { family: 'llama', layers: 2 },
  tokenizer: 'sha256:bb',
  kvDtype: 'bf16',
  codec: 'int8',
  codecParameter: 0,
  policy: { prefill: 'dense' },
  numerics: 'cpu-avx512-1',
};

test('names the part that differs, whatever order its fields were recorded in', () => {
  assert.deepEqual(changesBetween(OWN, { ...OWN, config: { layers: 2, family: 'llama' } }), []);
  for (const [change, other] of [
    ['model_changed', { weights: 'sha256:cc' }],
    ['model_changed', { config: { family: 'qwen2', layers: 2 } }],
    ['model_changed', { tokenizer: 'sha256:cc' }],
    ['policy_changed', { policy: { prefill: 'block_energy' } }],
    ['codec_changed', { codec: 'raw' }],
    ['codec_changed', { codecParameter: 1 }],
    ['codec_changed', { kvDtype: 'f32' }],
    ['numerics_changed', { numerics: 'cpu-avx512-2' }],
  ] as const)
    assert.deepEqual(changesBetween(OWN, { ...OWN, ...other }), [change]);
});

test('the nearest identity decides, and its weightiest difference is the reason', () => {
  const far = { ...OWN, weights: 'sha256:cc', numerics: 'cpu-portable-1' };
  const near = { ...OWN, numerics: 'cpu-portable-1' };
  assert.equal(nearestChange(OWN, [far, near]), 'numerics_changed');
  assert.equal(nearestChange(OWN, [far]), 'model_changed');
  assert.equal(nearestChange(OWN, []), undefined);
});

test('a record of another build that lacks a part differs in it', () => {
  const { policy: _, ...older } = OWN;
  assert.deepEqual(changesBetween(OWN, older), ['policy_changed']);
});
