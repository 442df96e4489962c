import { randomUUID } from 'node:crypto';
import { DeleteObjectCommand, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import type { Config, ObjectStoreConfig } from '../config.ts';
import { Home } from '../home/home.ts';
import { loadSecrets } from '../home/secrets.ts';
import { readRun } from '../platform/run-file.ts';
import { Child, type ChildSpec } from '../processes/child.ts';
import { OrphanGuard } from '../processes/orphan-guard.ts';
import { freePort } from '../processes/ports.ts';
import { waitUntil } from '../processes/wait-until.ts';
import { silentProgress } from '../progress.ts';
import { ensureWritableBucket, objectStoreClient, objectStoreSpec } from '../services/object-store.ts';
import { databaseAnswers, postgresSpec, postgresUrl } from '../services/postgres.ts';
import { prepareCluster } from '../services/postgres-cluster.ts';
import type { Check } from './check.ts';

/** Runs `use` while a child lives that was started just for it. */
async function whileRunning<T>(spec: ChildSpec, ready: () => Promise<boolean>, use: () => Promise<T>): Promise<T> {
  const guard = new OrphanGuard();
  const child = new Child(spec, guard);
  try {
    await waitUntil(child, ready, 30);
    return await use();
  } finally {
    await child.stop();
    guard.close();
  }
}

/** The database and the object store that a start would use: one's own, the running platform's, or the embedded ones. */
export function storeChecks(config: Config): Check[] {
  const home = new Home(config.home);
  return [
    {
      name: 'database',
      remedy: config.databaseUrl ? 'check DATABASE_URL and that its server runs' : `see ${home.log('postgres')}`,
      async run() {
        const url = config.databaseUrl ?? readRun(home)?.databaseUrl;
        if (url) {
          await databaseAnswers(url);
          return { ok: true, detail: `answers at ${new URL(url).host}` };
        }
        const { databasePassword } = loadSecrets(home);
        const port = await freePort();
        const spec = postgresSpec(home, await prepareCluster(home, databasePassword), port);
        const embedded = postgresUrl(port, databasePassword);
        await whileRunning(
          spec,
          () => databaseAnswers(embedded),
          () => databaseAnswers(embedded),
        );
        return { ok: true, detail: 'the embedded Postgres starts and answers' };
      },
    },
    {
      name: 'object store',
      remedy: config.objectStore ? 'check the S3_* variables' : `see ${home.log('object-store')}`,
      async run() {
        const store = config.objectStore ?? readRun(home)?.store;
        if (store) {
          await writeReadDelete(store);
          return { ok: true, detail: `write, read and delete work at ${store.endpoint}/${store.bucket}` };
        }
        const local: ObjectStoreConfig = {
          endpoint: `http://127.0.0.1:${await freePort()}`,
          region: 'us-east-1',
          bucket: config.bucket,
          ...loadSecrets(home).objectStore,
          forcePathStyle: true,
        };
        await whileRunning(
          await objectStoreSpec(home, local, silentProgress),
          () => ensureWritableBucket(local),
          () => writeReadDelete(local),
        );
        return { ok: true, detail: 'the local S3 starts; write, read and delete work' };
      },
    },
  ];
}

async function writeReadDelete(store: ObjectStoreConfig): Promise<void> {
  const client = objectStoreClient(store);
  const object = { Bucket: store.bucket, Key: `doctor/${randomUUID()}` };
  const body = Buffer.from(randomUUID());
  try {
    await client.send(new PutObjectCommand({ ...object, Body: body }));
    try {
      const read = await client.send(new GetObjectCommand(object));
      const bytes = Buffer.from(await read.Body!.transformToByteArray());
      if (!bytes.equals(body)) throw new Error('an object read back differs from what was written');
    } finally {
      await client.send(new DeleteObjectCommand(object));
    }
  } finally {
    client.destroy();
  }
}
