import { fileURLToPath } from 'node:url';
import { HeadBucketCommand, S3Client } from '@aws-sdk/client-s3';
import type { ObjectStoreConfig } from '../config.ts';
import type { Home } from '../home/home.ts';
import type { ChildSpec } from '../processes/child.ts';
import { LogFile } from '../processes/log-file.ts';

/** The local S3, as its own process. */
export function objectServerSpec(home: Home, store: ObjectStoreConfig): ChildSpec {
  const main = fileURLToPath(new URL('../object-server/main.ts', import.meta.url));
  const { port } = new URL(store.endpoint);
  return {
    name: 'object-store',
    command: process.execPath,
    args: [main, '--port', port, '--folder', home.objects, '--bucket', store.bucket],
    env: { ...process.env, S3_ACCESS_KEY_ID: store.accessKeyId, S3_SECRET_ACCESS_KEY: store.secretAccessKey },
    log: new LogFile(home.log('object-store')),
  };
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

/** Rejects with the SDK's error when the bucket is missing or the keys are wrong. */
export async function bucketAnswers(store: ObjectStoreConfig): Promise<boolean> {
  const client = objectStoreClient(store);
  try {
    await client.send(new HeadBucketCommand({ Bucket: store.bucket }));
    return true;
  } finally {
    client.destroy();
  }
}
