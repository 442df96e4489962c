import type { Config, ObjectStoreConfig } from '../config.ts';
import { Failure } from '../failure.ts';
import { freeGib, NEEDED_GIB } from '../home/free-space.ts';
import { Home } from '../home/home.ts';
import { loadSecrets, type Secrets } from '../home/secrets.ts';
import { chooseModel } from '../models/choose.ts';
import type { InstalledModel } from '../models/model-folder.ts';
import { answersOk } from '../processes/http-ready.ts';
import { freePort, portIsFree } from '../processes/ports.ts';
import type { Supervisor, SupervisorEvents } from '../processes/supervisor.ts';
import { waitUntil } from '../processes/wait-until.ts';
import type { Progress } from '../progress.ts';
import { ensureLifecycleRule } from '../services/bucket-lifecycle.ts';
import { edgeSpec } from '../services/edge.ts';
import { ensureWritableBucket, objectStoreSpec } from '../services/object-store.ts';
import { databaseAnswers, postgresSpec, postgresUrl } from '../services/postgres.ts';
import { prepareCluster } from '../services/postgres-cluster.ts';
import { workerSpec } from '../services/worker.ts';
import { type Access, ensureAccess, migrateDatabase } from './first-key.ts';
import { readRun, removeRun, writeRun } from './run-file.ts';
import { Services } from './services.ts';

interface RunningWorker {
  id: string;
  url: string;
  process: Supervisor;
}

/** A whole platform on this machine. */
export interface Platform {
  /** Of the edge: http://127.0.0.1:port */
  url: string;
  model: InstalledModel;
  access: Access;
  databaseUrl: string;
  store: ObjectStoreConfig;
  /** Bearer token of the workers' HTTP surface. */
  poolToken: string;
  workers: RunningWorker[];
  /** Undefined where DATABASE_URL or S3_ENDPOINT names one of the person's own. */
  database: Supervisor | undefined;
  objectStore: Supervisor | undefined;
  edge: Supervisor;
  /** Ends every process, in order. Idempotent. */
  stop(): Promise<void>;
}

export interface PlatformOptions {
  config: Config;
  progress: Progress;
  events: SupervisorEvents;
  /** Ends the start midway: everything that was started is stopped and the start rejects. */
  signal?: AbortSignal;
}

const READY_SECONDS = 120;

/** Starts everything and resolves when the edge answers and every worker is ready. Rejects with a Failure; nothing is left then. */
export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const { config, progress, signal } = options;
  const home = new Home(config.home);
  await home.create();
  await refuseHopelessStart(home, config.port);
  const secrets = loadSecrets(home);
  const model = await chooseModel(config, progress);
  signal?.throwIfAborted();

  const services = new Services(options.events);
  const stop = async (): Promise<void> => {
    await services.stopAll();
    removeRun(home);
  };
  const abort = () => void stop();
  signal?.addEventListener('abort', abort, { once: true });
  try {
    return await startServices(options, home, secrets, model, services, stop);
  } catch (error) {
    await stop();
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
  }
}

async function refuseHopelessStart(home: Home, port: number): Promise<void> {
  const run = readRun(home);
  if (run) {
    throw new Failure(
      `a platform runs on ${home.folder} already (process ${run.pid}, ${run.url}): stop it, or choose another LONGSHORE_HOME`,
    );
  }
  const gib = await freeGib(home.folder);
  if (gib < NEEDED_GIB) {
    throw new Failure(
      `${gib.toFixed(1)} GiB free for ${home.folder}, ${NEEDED_GIB} GiB needed: free some space, or choose another LONGSHORE_HOME`,
    );
  }
  if (!(await portIsFree(port))) {
    throw new Failure(`port ${port} is in use: stop what uses it, or choose another with --port or LONGSHORE_PORT`);
  }
}

async function startServices(
  { config, progress }: PlatformOptions,
  home: Home,
  secrets: Secrets,
  model: InstalledModel,
  services: Services,
  stop: () => Promise<void>,
): Promise<Platform> {
  const masterKey = config.masterKey ?? secrets.masterKey;
  const { poolToken } = secrets;
  const { environment } = config;
  const url = `http://127.0.0.1:${config.port}`;

  const [database, objects] = await Promise.all([
    startDatabase(config, home, secrets, services, progress),
    startObjectStore(config, home, secrets, services, progress),
  ]);
  await backstop(objects.store, progress);
  const access = await progress.step('tables, organization and key', async () => {
    await migrateDatabase(database.url);
    return ensureAccess(home, database.url, masterKey);
  });

  const edge = services.launch(
    edgeSpec(home, { environment, port: config.port, databaseUrl: database.url, poolToken }),
  );
  const workers: RunningWorker[] = [];
  for (let index = 1; index <= config.workers; index++) {
    const id = `worker-${index}`;
    const port = await freePort();
    const spec = workerSpec(home, {
      environment,
      id,
      port,
      edgeUrl: url,
      poolToken,
      masterKey,
      databaseUrl: database.url,
      store: objects.store,
      model: { path: model.path, id: model.name },
    });
    workers.push({ id, url: `http://127.0.0.1:${port}`, process: services.launch(spec) });
  }
  await Promise.all([
    ...workers.map((worker) =>
      progress.step(`${worker.id} with ${model.name}`, () =>
        waitUntil(worker.process.current, () => answersOk(`${worker.url}/healthz`), READY_SECONDS),
      ),
    ),
    progress.step('edge in workerd', () => waitUntil(edge.current, () => answersOk(`${url}/healthz`), READY_SECONDS)),
  ]);
  await progress.step('first heartbeat', () =>
    waitUntil(edge.current, () => answersOk(`${url}/readyz`), READY_SECONDS),
  );

  const platform: Platform = {
    url,
    model,
    access,
    databaseUrl: database.url,
    store: objects.store,
    poolToken,
    workers,
    database: database.process,
    objectStore: objects.process,
    edge,
    stop,
  };
  writeRun(home, {
    pid: process.pid,
    url,
    model: model.name,
    databaseUrl: database.url,
    store: objects.store,
    workers: workers.map(({ id, url }) => ({ id, url })),
  });
  return platform;
}

async function startDatabase(
  config: Config,
  home: Home,
  secrets: Secrets,
  services: Services,
  progress: Progress,
): Promise<{ url: string; process: Supervisor | undefined }> {
  if (config.databaseUrl) return { url: config.databaseUrl, process: undefined };
  return progress.step('embedded Postgres', async () => {
    const cluster = await prepareCluster(home, secrets.databasePassword);
    const port = await freePort();
    const process = services.launch(postgresSpec(home, cluster, port));
    const url = postgresUrl(port, secrets.databasePassword);
    await waitUntil(process.current, () => databaseAnswers(url), READY_SECONDS);
    return { url, process };
  });
}

/** What no sweeper ever finds, the store deletes itself. One that knows no such rules, or lets us set none, serves all the same. */
async function backstop(store: ObjectStoreConfig, progress: Progress): Promise<void> {
  try {
    await ensureLifecycleRule(store);
  } catch (cause) {
    progress.note(`  no lifecycle rule on ${store.bucket}: ${(cause as Error).message}`);
  }
}

async function startObjectStore(
  config: Config,
  home: Home,
  secrets: Secrets,
  services: Services,
  progress: Progress,
): Promise<{ store: ObjectStoreConfig; process: Supervisor | undefined }> {
  if (config.objectStore) return { store: config.objectStore, process: undefined };
  const store: ObjectStoreConfig = {
    endpoint: `http://127.0.0.1:${await freePort()}`,
    region: 'us-east-1',
    bucket: config.bucket,
    ...secrets.objectStore,
    forcePathStyle: true,
  };
  const spec = await objectStoreSpec(home, store, progress);
  return progress.step('local S3', async () => {
    const process = services.launch(spec);
    await waitUntil(process.current, () => ensureWritableBucket(store), READY_SECONDS);
    return { store, process };
  });
}
