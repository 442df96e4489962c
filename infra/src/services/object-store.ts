import {
  BucketAlreadyExists,
  BucketAlreadyOwnedByYou,
  CreateBucketCommand,
  DeleteObjectCommand,
  HeadBucketCommand,
  PutObjectCommand,
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

/**
 * Makes the local store's bucket unless it is there, and puts and deletes one object: the server takes requests before it can
 * write, and lays the bucket's first volumes out at the first put, for seconds on a slow disk. Rejects with the SDK's error until then.
 */
export async function ensureWritableBucket(store: ObjectStoreConfig): Promise<boolean> {
  const client = objectStoreClient(store);
  const probe = { Bucket: store.bucket, Key: 'ready/probe' };
  try {
    try {
      await client.send(new CreateBucketCommand({ Bucket: store.bucket }));
    } catch (error) {
      if (!(error instanceof BucketAlreadyOwnedByYou || error instanceof BucketAlreadyExists)) throw error;
    }
    await client.send(new HeadBucketCommand({ Bucket: store.bucket }));
    await client.send(new PutObjectCommand({ ...probe, Body: new Uint8Array(64) }));
    await client.send(new DeleteObjectCommand(probe));
    return true;
  } finally {
    client.destroy();
  }
}
