import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { Failure } from '../failure.ts';

export interface Account {
  uid: number;
  gid: number;
}

const execute = promisify(execFile);

async function lookUp(): Promise<Account | undefined> {
  try {
    const id = async (flag: string) => Number((await execute('id', [flag, 'postgres'])).stdout);
    return { uid: await id('-u'), gid: await id('-g') };
  } catch {
    return undefined;
  }
}

/** Postgres refuses to run as root: then it runs as the system user "postgres", made here when there is none. */
export async function postgresAccount(): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const existing = await lookUp();
  if (existing) return existing;
  await execute('groupadd', ['-f', 'postgres']).catch(() => {});
  await execute('useradd', ['-g', 'postgres', '-M', 'postgres']).catch(() => {});
  const made = await lookUp();
  if (made) return made;
  throw new Failure(
    'Postgres cannot run as root and no user "postgres" could be made: run as another user, or set DATABASE_URL',
  );
}

/** True when any user may pass through every folder above `path`. */
export async function reachableByOthers(path: string): Promise<boolean> {
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    const mode = await stat(folder).then(
      (found) => found.mode,
      () => 0o755,
    );
    if ((mode & 0o001) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}
