import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decodeSessionFileHeader,
  encodeSessionFileHeader,
  type SessionFileHeader,
  sessionFileHeadBytes,
} from './header.ts';

const header: SessionFileHeader = {
  model: 'm',
  namespace: 'ab'.repeat(32),
  identity: {
    weights: 'sha256:1',
    config: { layers: 2 },
    tokenizer: 'sha256:2',
    kvDtype: 'bf16',
    codec: 'raw',
    codecParameter: 0,
    policy: { prefill: 'dense' },
    numerics: 'n',
  },
  tokenCount: 300,
  turnCount: 2,
  blockCount: 2,
  tailTokens: 44,
};

test('reads what it wrote, and says how many bytes it needs', () => {
  const bytes = encodeSessionFileHeader(header);
  assert.equal(sessionFileHeadBytes(bytes.subarray(0, 11)), undefined);
  assert.equal(sessionFileHeadBytes(bytes), bytes.length);
  assert.deepEqual(decodeSessionFileHeader(Buffer.concat([bytes, Buffer.from('frames')])), header);
});

test('refuses other files, other versions, absurd lengths, cut heads and wrong fields, by name', () => {
  const bytes = encodeSessionFileHeader(header);
  const changed = (at: number, value: number) => {
    const copy = bytes.slice();
    copy[at] = value;
    return copy;
  };
  assert.throws(() => decodeSessionFileHeader(changed(0, 0)), /begins otherwise/);
  assert.throws(() => decodeSessionFileHeader(changed(4, 2)), /its version is 2, this build reads 1/);
  assert.throws(() => decodeSessionFileHeader(changed(11, 1)), /absurdly long/);
  assert.throws(() => decodeSessionFileHeader(bytes.subarray(0, 40)), /ends inside its header/);
  assert.throws(() => decodeSessionFileHeader(changed(12, 0)), /no JSON/);
  const wrong = encodeSessionFileHeader({ ...header, namespace: 'zz' });
  assert.throws(() => decodeSessionFileHeader(wrong), /wrong at namespace/);
});
