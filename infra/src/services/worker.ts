import { join } from 'node:path';
import { type ObjectStoreConfig, ROOT } from '../config.ts';
import type { Home } from '../home/home.ts';
import type { ChildSpec } from '../processes/child.ts';
import { LogFile } from '../processes/log-file.ts';

export interface WorkerSettings {
  environment: NodeJS.ProcessEnv;
  id: string;
  port: number;
  edgeUrl: string;
  poolToken: string;
  masterKey: string;
  databaseUrl: string;
  store: ObjectStoreConfig;
  model: { path: string; id: string };
}

/** One engine process; LONGSHORE_* of `environment` (threads, pool size, codec, ...) reach it unchanged. */
export function workerSpec(home: Home, settings: WorkerSettings): ChildSpec {
  return {
    name: settings.id,
    command: process.execPath,
    args: [join(ROOT, 'workers-gpu', 'src', 'main.ts')],
    env: {
      LONGSHORE_DISK_TIER_FOLDER: home.tiers,
      ...settings.environment,
      LONGSHORE_WORKER_ID: settings.id,
      LONGSHORE_WORKER_HOST: '127.0.0.1',
      LONGSHORE_WORKER_PORT: String(settings.port),
      LONGSHORE_WORKER_URL: `http://127.0.0.1:${settings.port}`,
      LONGSHORE_EDGE_URL: settings.edgeUrl,
      LONGSHORE_POOL_TOKEN: settings.poolToken,
      LONGSHORE_MASTER_KEY: settings.masterKey,
      LONGSHORE_MODEL: settings.model.path,
      LONGSHORE_MODEL_ID: settings.model.id,
      DATABASE_URL: settings.databaseUrl,
      S3_ENDPOINT: settings.store.endpoint,
      S3_REGION: settings.store.region,
      S3_BUCKET: settings.store.bucket,
      S3_ACCESS_KEY_ID: settings.store.accessKeyId,
      S3_SECRET_ACCESS_KEY: settings.store.secretAccessKey,
      S3_FORCE_PATH_STYLE: String(settings.store.forcePathStyle),
    },
    log: new LogFile(home.log(settings.id)),
    // A worker drains first: it finishes what runs and what it publishes.
    graceMs: 15_000,
  };
}
