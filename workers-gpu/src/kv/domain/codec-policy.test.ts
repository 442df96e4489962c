import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CODEC_ID, type Codec } from '@longshore/core';
import { chooseCodec } from './codec-policy.ts';

test('without configuration no bit of the KV is lost, whatever the model', () => {
  for (const kvDtype of ['bf16', 'f32'] as const)
    for (const family of ['llama', 'a family of tomorrow'])
      assert.equal(chooseCodec({ family, kvDtype }, 'auto').codec, 'lossless');
});

test('a configured codec overrides every rule', () => {
  for (const codec of Object.keys(CODEC_ID) as Codec[])
    assert.deepEqual(chooseCodec({ family: 'llama', kvDtype: 'bf16' }, codec), { codec, reason: 'configured' });
});
