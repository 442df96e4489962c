import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ConfigError, parseConfig } from './config.ts';

const GOOD = {
  LONGSHORE_WORKER_ID: 'wrk',
  LONGSHORE_WORKER_PORT: '8790',
  LONGSHORE_POOL_TOKEN: '0123456789abcdef',
  LONGSHORE_MODEL: '/models/x.gguf',
  LONGSHORE_MODEL_ID: 'x',
  LONGSHORE_MASTER_KEY: 'ab'.repeat(32),
  DATABASE_URL: 'postgres://u:p@127.0.0.1:5432/db',
  S3_BUCKET: 'b',
  S3_ACCESS_KEY_ID: 'k',
  S3_SECRET_ACCESS_KEY: 's',
};

function mistakes(changes: Record<string, string | undefined>): readonly string[] {
  try {
    parseConfig({ ...GOOD, ...changes });
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.mistakes;
  }
  return assert.fail('accepted');
}

test('fills in every default and freezes the result', () => {
  const config = parseConfig({ ...GOOD, LONGSHORE_THREADS: '' });
  assert.deepEqual(
    [config.threads, config.kvBytes, config.codec, config.maxBatchTokens, config.s3.forcePathStyle],
    [0, 1024 ** 3, 'auto', 512, true],
  );
  assert.deepEqual(config.tiers, {
    hostBytes: 256 * 1024 ** 2,
    diskBytes: 8 * 1024 ** 3,
    diskFolder: undefined,
    writeThrough: true,
  });
  assert.ok(Object.isFrozen(config) && Object.isFrozen(config.s3) && Object.isFrozen(config.tiers));
});

test('names every wrong variable in a line of its own', () => {
  const found = mistakes({ LONGSHORE_MODEL: undefined, LONGSHORE_WORKER_PORT: 'x', LONGSHORE_MASTER_KEY: 'short' });
  assert.equal(found.length, 3);
  assert.ok(found.includes('LONGSHORE_MODEL: is missing'));
  assert.ok(found.some((line) => line.startsWith('LONGSHORE_MASTER_KEY: needs 64 hexadecimal digits')));
  assert.ok(found.every((line) => !line.includes('\n')));
});

test('never repeats a secret in a message', () => {
  const found = mistakes({ LONGSHORE_MASTER_KEY: 'hunter2', LONGSHORE_POOL_TOKEN: 'swordfish' });
  assert.ok(!found.join().includes('hunter2') && !found.join().includes('swordfish'));
});

test('refuses limits that contradict each other', () => {
  assert.match(mistakes({ LONGSHORE_MAX_RUNNING: '64', LONGSHORE_MAX_BATCH_TOKENS: '32' })[0]!, /MAX_RUNNING/);
});

test('takes a decode policy by name or as JSON, and tells what one must be', () => {
  const sketches = '{"type":"sketch_topk","min_tokens":4096,"rescore":0.01}';
  for (const LONGSHORE_DECODE_POLICY of ['dense', 'block_topk', sketches])
    assert.equal(parseConfig({ ...GOOD, LONGSHORE_DECODE_POLICY }).decodePolicy, LONGSHORE_DECODE_POLICY);
  assert.equal(parseConfig(GOOD).decodePolicy, undefined);
  for (const LONGSHORE_DECODE_POLICY of ['sparse', '{"type":"sketch_topk","blocks":1}', '{'])
    assert.match(mistakes({ LONGSHORE_DECODE_POLICY }).join(), /LONGSHORE_DECODE_POLICY: must be dense, sketch_topk/);
});

test('leaves room to compute a block that sparse decode filled', () => {
  const tight = { LONGSHORE_POLICY: 'dense', LONGSHORE_MAX_BATCH_TOKENS: '130', LONGSHORE_MAX_RUNNING: '16' };
  assert.match(
    mistakes({ ...tight, LONGSHORE_DECODE_POLICY: 'sketch_topk' }).join(),
    /must exceed LONGSHORE_MAX_RUNNING by 128/,
  );
  assert.equal(parseConfig({ ...GOOD, ...tight, LONGSHORE_DECODE_POLICY: 'dense' }).maxBatchTokens, 130);
});
