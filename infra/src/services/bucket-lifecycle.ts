import { GetBucketLifecycleConfigurationCommand, PutBucketLifecycleConfigurationCommand } from '@aws-sdk/client-s3';
import type { ObjectStoreConfig } from '../config.ts';
import { objectStoreClient } from './object-store.ts';

/**
 * The longest time to live that a worker accepts (ten years) and a month's grace. An S3 rule counts from the writing of an object and
 * knows neither its uses nor its pins, so a shorter one takes what still slides or is pinned; the sweeper finds that out, and the
 * blocks are computed again.
 */
export const BACKSTOP_DAYS = 3680;
const RULE = 'longshore-backstop';

/** Sets the bucket's rules to ours alone. Rejects with the SDK's error where the store knows no lifecycle rules. */
export async function putLifecycleRule(store: ObjectStoreConfig, days: number): Promise<void> {
  const client = objectStoreClient(store);
  try {
    await client.send(
      new PutBucketLifecycleConfigurationCommand({
        Bucket: store.bucket,
        LifecycleConfiguration: {
          Rules: [{ ID: RULE, Status: 'Enabled', Filter: { Prefix: 'kv/' }, Expiration: { Days: days } }],
        },
      }),
    );
  } finally {
    client.destroy();
  }
}

/** Days after which the store deletes objects by our rule, as it says itself; undefined: it has no such rule. */
export async function lifecycleDays(store: ObjectStoreConfig): Promise<number | undefined> {
  const client = objectStoreClient(store);
  try {
    const { Rules = [] } = await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket: store.bucket }));
    return Rules.find((rule) => rule.Status === 'Enabled' && rule.Expiration?.Days !== undefined)?.Expiration?.Days;
  } finally {
    client.destroy();
  }
}
