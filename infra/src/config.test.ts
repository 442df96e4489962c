import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readConfig } from './config.ts';
import { Failure } from './failure.ts';

test('the defaults need nothing from the environment', () => {
  const config = readConfig({});
  assert.equal(config.port, 8787);
  assert.equal(config.workers, 2);
  assert.equal(config.model, 'smollm2-135m-instruct');
  assert.equal(config.databaseUrl, undefined);
  assert.equal(config.objectStore, undefined);
  assert.ok(Object.isFrozen(config));
});

test('DATABASE_URL and S3_* replace the embedded parts', () => {
  const config = readConfig({
    DATABASE_URL: 'postgres://u:p@db.example:5432/x',
    S3_ENDPOINT: 'https://s3.example',
    S3_BUCKET: 'kv-blocks',
    S3_ACCESS_KEY_ID: 'id',
    S3_SECRET_ACCESS_KEY: 'secret',
    S3_FORCE_PATH_STYLE: 'false',
  });
  assert.equal(config.databaseUrl, 'postgres://u:p@db.example:5432/x');
  assert.deepEqual(config.objectStore, {
    endpoint: 'https://s3.example',
    region: 'us-east-1',
    bucket: 'kv-blocks',
    accessKeyId: 'id',
    secretAccessKey: 'secret',
    forcePathStyle: false,
  });
});

test('each mistake is one line that names the variable', () => {
  const mistakes: Array<[Record<string, string>, RegExp]> = [
    [{ LONGSHORE_PORT: '99999' }, /^LONGSHORE_PORT: /],
    [{ LONGSHORE_WORKERS: 'two' }, /^LONGSHORE_WORKERS: /],
    [{ DATABASE_URL: 'mysql://x' }, /^DATABASE_URL: is no postgres/],
    [{ S3_ENDPOINT: 'https://s3.example' }, /S3_ENDPOINT needs S3_ACCESS_KEY_ID/],
    [{ LONGSHORE_MASTER_KEY: 'abc' }, /^LONGSHORE_MASTER_KEY: must be 64 hex digits/],
  ];
  for (const [env, expected] of mistakes) {
    assert.throws(
      () => readConfig(env),
      (error) => error instanceof Failure && expected.test(error.message) && !error.message.includes('\n'),
    );
  }
});
