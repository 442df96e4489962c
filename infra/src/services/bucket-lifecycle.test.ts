import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GetBucketLifecycleConfigurationCommand, PutBucketLifecycleConfigurationCommand } from '@aws-sdk/client-s3';
import { startLocalS3 } from '../testing/local-s3.ts';
import { BACKSTOP_DAYS, ensureLifecycleRule, lifecycleDays, putLifecycleRule } from './bucket-lifecycle.ts';
import { objectStoreClient } from './object-store.ts';

test('the local S3 takes the lifecycle rule at the start, and keeps the days that an operator gave it and the rules of others', async () => {
  const s3 = await startLocalS3();
  try {
    const client = objectStoreClient(s3.options);
    const foreign = { ID: 'logs', Status: 'Enabled' as const, Filter: { Prefix: 'logs/' }, Expiration: { Days: 7 } };
    const Bucket = s3.options.bucket;
    await client.send(
      new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules: [foreign] } }),
    );
    assert.equal(await lifecycleDays(s3.options), undefined);
    await ensureLifecycleRule(s3.options);
    assert.equal(await lifecycleDays(s3.options), BACKSTOP_DAYS);
    await putLifecycleRule(s3.options, 30);
    await ensureLifecycleRule(s3.options);
    assert.equal(await lifecycleDays(s3.options), 30);
    const { Rules = [] } = await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket }));
    const days = Rules.map((rule) => [rule.Filter?.Prefix ?? rule.Prefix, rule.Expiration?.Days]);
    assert.deepEqual(Object.fromEntries(days), { 'logs/': 7, 'kv/': 30 });
    client.destroy();
  } finally {
    await s3.stop();
  }
});
