import {
  GetBucketLifecycleConfigurationCommand,
  type LifecycleRule,
  PutBucketLifecycleConfigurationCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import type { ObjectStoreConfig } from '../config.ts';
import { objectStoreClient } from './object-store.ts';

/**
 * The longest time to live that a worker accepts (ten years) and a month's grace. An S3 rule counts from the writing of an object and
 * knows neither its uses nor its pins, so a shorter one takes what still slides or is pinned; the sweeper finds that out, and the
 * blocks are computed again.
 */
export const BACKSTOP_DAYS = 3680;
const RULE = 'longshore-backstop';
const PREFIX = 'kv/';

/** Sets our rule and leaves every other rule of the bucket as it is. Rejects with the SDK's error where the store knows no lifecycle rules. */
export function putLifecycleRule(store: ObjectStoreConfig, days: number): Promise<void> {
  return withClient(store, async (client) => putRule(client, store.bucket, await rulesOf(client, store.bucket), days));
}

/** Sets our rule unless the bucket has one already, whatever its days. Rejects as putLifecycleRule does. */
export function ensureLifecycleRule(store: ObjectStoreConfig): Promise<void> {
  return withClient(store, async (client) => {
    const rules = await rulesOf(client, store.bucket);
    if (!rules.some(isOurs)) await putRule(client, store.bucket, rules, BACKSTOP_DAYS);
  });
}

/** Days after which the store deletes objects by our rule, as it says itself; undefined: it has no such rule. */
export function lifecycleDays(store: ObjectStoreConfig): Promise<number | undefined> {
  return withClient(store, async (client) => {
    const rules = await rulesOf(client, store.bucket);
    return rules.find((rule) => isOurs(rule) && rule.Status === 'Enabled')?.Expiration?.Days;
  });
}

async function withClient<T>(store: ObjectStoreConfig, call: (client: S3Client) => Promise<T>): Promise<T> {
  const client = objectStoreClient(store);
  try {
    return await call(client);
  } finally {
    client.destroy();
  }
}

async function rulesOf(client: S3Client, Bucket: string): Promise<LifecycleRule[]> {
  try {
    return (await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket }))).Rules ?? [];
  } catch (error) {
    if ((error as Error).name === 'NoSuchLifecycleConfiguration') return [];
    throw error;
  }
}

async function putRule(client: S3Client, Bucket: string, rules: readonly LifecycleRule[], days: number): Promise<void> {
  const ours = { ID: RULE, Status: 'Enabled' as const, Filter: { Prefix: PREFIX }, Expiration: { Days: days } };
  const Rules = [...rules.filter((rule) => !isOurs(rule)), ours];
  await client.send(new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules } }));
}

/** By its prefix: not every store keeps a rule's name. */
const isOurs = (rule: LifecycleRule): boolean => rule.ID === RULE || (rule.Filter?.Prefix ?? rule.Prefix) === PREFIX;
