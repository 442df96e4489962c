import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startLocalS3 } from '../testing/local-s3.ts';
import { BACKSTOP_DAYS, lifecycleDays, putLifecycleRule } from './bucket-lifecycle.ts';

test('the local S3 takes the lifecycle rule, says it back, and takes another in its place', async () => {
  const s3 = await startLocalS3();
  try {
    await putLifecycleRule(s3.options, BACKSTOP_DAYS);
    assert.equal(await lifecycleDays(s3.options), BACKSTOP_DAYS);
    await putLifecycleRule(s3.options, 30);
    assert.equal(await lifecycleDays(s3.options), 30);
  } finally {
    await s3.stop();
  }
});
