import {
  BucketAlreadyExists,
  BucketAlreadyOwnedByYou,
  CreateBucketCommand,
  HeadBucketCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import type { ObjectStoreConfig } from '../config.ts';
import type { Home } from '../home/home.ts';
import type { ChildSpec } from '../processes/child.ts';
import type { Progress } from '../progress.ts';
import { seaweedfsProgram, seaweedfsSpec } from './seaweedfs.ts';

/** The local S3 as a process of its own; its program is fetched at the first call. Rejects with a Failure. */
export async function objectStoreSpec(home: Home, store: ObjectStoreConfig, progress: Progress): Promise<ChildSpec> {
  return seaweedfsSpec(home, await seaweedfsProgram(progress), store);
}

export function objectStoreClient(store: ObjectStoreConfig): S3Client {
  return new S3Client({
    endpoint: store.endpoint,
    region: store.region,
    forcePathStyle: store.forcePathStyle,
    credentials: { accessKeyId: store.accessKeyId, secretAccessKey: store.secretAccessKey },
    maxAttempts: 1,
    requestHandler: { connectionTimeout: 3000, requestTimeout: 10_000 },
  });
}

/** True once the store takes requests. Rejects with the SDK's error when the bucket is missing or the keys are wrong. */
async function bucketAnswers(store: ObjectStoreConfig): Promise<boolean> {
  const client = objectStoreClient(store);
  try {
    await client.send(new HeadBucketCommand({ Bucket: store.bucket }));
    return true;
  } finally {
    client.destroy();
  }
}

/** Makes the local store's bucket unless it is there. Rejects with the SDK's error until the store takes requests. */
export async function ensureBucket(store: ObjectStoreConfig): Promise<boolean> {
  const client = objectStoreClient(store);
  try {
    await client.send(new CreateBucketCommand({ Bucket: store.bucket }));
  } catch (error) {
    if (!(error instanceof BucketAlreadyOwnedByYou || error instanceof BucketAlreadyExists)) throw error;
  } finally {
    client.destroy();
  }
  return bucketAnswers(store);
}
