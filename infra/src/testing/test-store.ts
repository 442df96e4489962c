import type { ObjectStoreConfig } from '../config.ts';
import { freePort } from '../processes/ports.ts';

/** Where a test's S3 server is to listen: a free port of 127.0.0.1, keys and a bucket of no one else. */
export async function testStore(): Promise<ObjectStoreConfig> {
  return {
    endpoint: `http://127.0.0.1:${await freePort()}`,
    region: 'us-east-1',
    bucket: 'longshore',
    accessKeyId: 'test',
    secretAccessKey: 'test-secret',
    forcePathStyle: true,
  };
}
