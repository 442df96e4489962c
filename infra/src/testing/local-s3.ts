import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ObjectStoreConfig } from '../config.ts';
import { Home } from '../home/home.ts';
import { Child } from '../processes/child.ts';
import { OrphanGuard } from '../processes/orphan-guard.ts';
import { waitUntil } from '../processes/wait-until.ts';
import { silentProgress } from '../progress.ts';
import { ensureWritableBucket, objectStoreSpec } from '../services/object-store.ts';
import { testStore } from './test-store.ts';

export interface LocalS3 {
  options: ObjectStoreConfig;
  /** Ends the server as a crash would; its data stays for a restart. */
  kill(): Promise<void>;
  restart(): Promise<void>;
  /** Ends it and deletes its data. */
  stop(): Promise<void>;
}

const READY_SECONDS = 60;

/** The S3 that `npm start` brings, on a free port, with an empty bucket in a temporary folder. */
export async function startLocalS3(): Promise<LocalS3> {
  const home = new Home(await mkdtemp(join(tmpdir(), 'longshore-s3-')));
  for (const folder of [home.objects, join(home.folder, 'logs')]) await mkdir(folder, { recursive: true });
  const options = await testStore();
  const spec = await objectStoreSpec(home, options, silentProgress);
  const guard = new OrphanGuard();
  let child: Child | undefined;

  async function start() {
    child = new Child(spec, guard);
    await waitUntil(child, () => ensureWritableBucket(options), READY_SECONDS);
  }

  async function kill() {
    const running = child;
    child = undefined;
    running?.kill('SIGKILL');
    await running?.stop();
  }

  await start();
  return {
    options,
    kill,
    restart: start,
    async stop() {
      await kill();
      guard.close();
      await rm(home.folder, { recursive: true, force: true });
    },
  };
}
