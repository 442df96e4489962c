import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApiKey, createDatabase } from '@longshore/db';
import {
  FIXTURE,
  findInstalled,
  freePort,
  Home,
  type Platform,
  type Progress,
  readConfig,
  silentProgress,
  startPlatform,
} from '@longshore/infra';

/** Which model a test platform serves: the bundled one with random weights, or SmolLM2 where it was pulled. */
type TestModel = 'fixture' | 'smollm2';

export interface HarnessOptions {
  model?: TestModel;
  workers?: number;
  /** Keeps the pool small, or changes any other LONGSHORE_* of the workers. */
  env?: Record<string, string>;
  progress?: Progress;
  /** Ends a start midway. */
  signal?: AbortSignal;
}

export interface TestPlatform extends Platform {
  /** Base URL for OpenAI clients. */
  baseUrl: string;
  apiKey: string;
  /** Another key of the same organization. */
  createKey(name: string, scopes?: readonly string[]): Promise<string>;
  /** A worker's own view, by the pool token: GET /stats. */
  workerStats(workerId: string): Promise<Record<string, unknown>>;
  /** SIGKILL, and no restart until startWorker(). */
  killWorker(workerId: string): Promise<void>;
  startWorker(workerId: string): Promise<void>;
  /** Takes a store away and gives it back, with its data and on its port. */
  stopDatabase(): Promise<void>;
  startDatabase(): Promise<void>;
  stopObjectStore(): Promise<void>;
  startObjectStore(): Promise<void>;
  /** Stops everything and removes the home folder. Idempotent. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Path of the SmolLM2 GGUF for tests: LONGSHORE_TEST_MODEL, or what `longshore models pull smollm2-135m-instruct` put into
 * LONGSHORE_HOME (default: .longshore in the repository). Rejects with what to do when there is none.
 */
async function smolLm2Path(): Promise<string> {
  if (process.env.LONGSHORE_TEST_MODEL) return process.env.LONGSHORE_TEST_MODEL;
  const installed = await findInstalled(new Home(readConfig(process.env).home), 'smollm2-135m-instruct');
  if (installed) return installed.path;
  throw new Error(
    'no SmolLM2: run "npm run longshore -- models pull smollm2-135m-instruct", or set LONGSHORE_TEST_MODEL',
  );
}

/** The whole platform on free ports in a temporary home. Dispose it: `await using platform = await startTestPlatform()`. */
export async function startTestPlatform(options: HarnessOptions = {}): Promise<TestPlatform> {
  const folder = await mkdtemp(join(tmpdir(), 'longshore-test-'));
  // The database's own user must pass.
  await chmod(folder, 0o755);
  const model = options.model === 'smollm2' ? await smolLm2Path() : FIXTURE.name;
  const environment = {
    ...ownEnvironment(),
    ...options.env,
    LONGSHORE_HOME: folder,
    LONGSHORE_MODEL: model,
    LONGSHORE_PORT: String(await freePort()),
    LONGSHORE_WORKERS: String(options.workers ?? 2),
  };
  let platform: Platform;
  try {
    platform = await startPlatform({
      config: readConfig(environment),
      progress: options.progress ?? silentProgress,
      events: { failed: () => {}, restarted: () => {} },
      ...(options.signal ? { signal: options.signal } : {}),
    });
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  return withControls(platform, folder);
}

/** Ours without what would point the platform at a person's own database, bucket or settings. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const entries = Object.entries(process.env).filter(([name]) => !/^(LONGSHORE_|S3_|DATABASE_URL$|NODE_)/.test(name));
  return Object.fromEntries(entries);
}

function withControls(platform: Platform, folder: string): TestPlatform {
  const worker = (id: string) => {
    const found = platform.workers.find((one) => one.id === id);
    if (!found) throw new Error(`no worker ${id}`);
    return found;
  };
  const embedded = <T>(part: T | undefined): T => {
    if (part === undefined) throw new Error('this part is not embedded');
    return part;
  };
  let disposed: Promise<void> | undefined;
  const dispose = async () => {
    await platform.stop();
    await rm(folder, { recursive: true, force: true });
  };
  return {
    ...platform,
    baseUrl: `${platform.url}/v1`,
    apiKey: platform.access.apiKey,
    async createKey(name, scopes = ['inference', 'sessions', 'caches']) {
      const { db, close } = createDatabase(platform.databaseUrl, { max: 1 });
      try {
        return (await createApiKey(db, { ...platform.access, name, scopes })).apiKey;
      } finally {
        await close();
      }
    },
    async workerStats(id) {
      const response = await fetch(`${worker(id).url}/stats`, {
        headers: { authorization: `Bearer ${platform.poolToken}` },
      });
      if (!response.ok) throw new Error(`${id} answers ${response.status} to /stats`);
      return (await response.json()) as Record<string, unknown>;
    },
    killWorker: (id) => worker(id).process.stop('SIGKILL'),
    startWorker: (id) => worker(id).process.start(),
    stopDatabase: () => embedded(platform.database).stop(),
    startDatabase: () => embedded(platform.database).start(),
    stopObjectStore: () => embedded(platform.objectStore).stop(),
    startObjectStore: () => embedded(platform.objectStore).start(),
    [Symbol.asyncDispose]() {
      disposed ??= dispose();
      return disposed;
    },
  };
}
