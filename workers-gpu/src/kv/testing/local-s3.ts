import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '@longshore/db/testing';
import type { S3Options } from '../adapters/s3-object-store.ts';

export interface LocalS3 {
  options: S3Options;
  /** Ends the server as a crash would; its data stays for a restart. */
  kill(): Promise<void>;
  restart(): Promise<void>;
  /** Ends it and deletes its data. */
  stop(): Promise<void>;
}

const MAIN = fileURLToPath(new URL('../../../../infra/src/object-server/main.ts', import.meta.url));
const BUCKET = 'longshore';

/** The platform's own local S3 server as a child process on a free port, with an empty bucket in a temporary folder. */
export async function startLocalS3(): Promise<LocalS3> {
  const folder = await mkdtemp(join(tmpdir(), 'longshore-s3-'));
  const port = await freePort();
  const keys = { S3_ACCESS_KEY_ID: 'test', S3_SECRET_ACCESS_KEY: 'test-secret' };
  let child: ChildProcess | undefined;

  async function start() {
    const args = [MAIN, '--port', String(port), '--folder', folder, '--bucket', BUCKET];
    const started = spawn(process.execPath, args, {
      env: { ...process.env, ...keys },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child = started;
    await new Promise<void>((resolve, reject) => {
      let output = '';
      const read = (chunk: Buffer) => {
        output += chunk;
        if (output.includes('object server on')) resolve();
      };
      started.stdout!.on('data', read);
      started.stderr!.on('data', read);
      started.once('exit', (code) => reject(new Error(`the local S3 server ended with ${code}: ${output}`)));
    });
  }

  async function kill() {
    const running = child;
    child = undefined;
    if (!running || running.exitCode !== null) return;
    await new Promise((resolve) => {
      running.once('exit', resolve);
      running.kill('SIGKILL');
    });
  }

  await start();
  return {
    options: {
      endpoint: `http://127.0.0.1:${port}`,
      region: 'us-east-1',
      bucket: BUCKET,
      accessKeyId: keys.S3_ACCESS_KEY_ID,
      secretAccessKey: keys.S3_SECRET_ACCESS_KEY,
      forcePathStyle: true,
    },
    kill,
    restart: start,
    async stop() {
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
