import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, chown, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Failure } from '../failure.ts';
import type { Home } from '../home/home.ts';
import { type Account, postgresAccount, reachableByOthers } from './postgres-account.ts';
import { nativeFolder, postgresBinaries } from './postgres-binaries.ts';

const execute = promisify(execFile);

export interface Cluster {
  postgres: string;
  data: string;
  account: Account | undefined;
}

/**
 * The embedded Postgres's data folder, made on the first call. Its superuser is "longshore". As root, Postgres runs as another
 * user; when that one cannot reach our folders (a clone under /root), programs and data lie in /var/lib/longshore instead.
 */
export async function prepareCluster(home: Home, password: string): Promise<Cluster> {
  const binaries = await postgresBinaries();
  const account = await postgresAccount();
  let native = nativeFolder(binaries);
  let data = home.postgres;
  if (account && !((await reachableByOthers(binaries.postgres)) && (await reachableByOthers(data)))) {
    const apart = `/var/lib/longshore/${createHash('sha256').update(home.folder).digest('hex').slice(0, 12)}`;
    await mkdir(apart, { recursive: true, mode: 0o755 });
    if (!existsSync(join(apart, 'native', 'bin', 'postgres'))) {
      await cp(native, join(apart, 'native'), { recursive: true, verbatimSymlinks: true });
    }
    native = join(apart, 'native');
    data = join(apart, 'data');
  }
  const postgres = join(native, 'bin', 'postgres');
  const initdb = join(native, 'bin', 'initdb');
  if (!existsSync(join(data, 'PG_VERSION'))) {
    for (const program of [postgres, initdb]) await chmod(program, 0o755).catch(() => {});
    await initialize(initdb, data, account, password);
  }
  await endLeftover(data);
  return { postgres, data, account };
}

async function initialize(initdb: string, data: string, account: Account | undefined, password: string): Promise<void> {
  // An interrupted initdb leaves a folder that a second one refuses.
  await rm(data, { recursive: true, force: true });
  await mkdir(data, { mode: 0o700 });
  const passwordFile = `${data}.password`;
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (account) {
    await chown(data, account.uid, account.gid);
    await chown(passwordFile, account.uid, account.gid);
  }
  try {
    await execute(
      initdb,
      [
        `--pgdata=${data}`,
        '--username=longshore',
        `--pwfile=${passwordFile}`,
        '--auth=scram-sha-256',
        '--encoding=UTF8',
        '--locale=C',
      ],
      { cwd: '/', ...account },
    );
  } catch (cause) {
    await rm(data, { recursive: true, force: true });
    throw new Failure(`Postgres could not initialize ${data}: ${(cause as { stderr?: string }).stderr ?? cause}`, {
      cause,
    });
  } finally {
    await rm(passwordFile, { force: true });
  }
}

/** A Postgres that an earlier start left on this folder (the machine went down, or the reaper was killed too) is ended first. */
async function endLeftover(data: string): Promise<void> {
  const file = join(data, 'postmaster.pid');
  if (!existsSync(file)) return;
  const pid = Number((await readFile(file, 'utf8')).split('\n')[0]);
  const isPostgres = async () =>
    (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).includes(data) || process.platform !== 'linux';
  const alive = () => {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  };
  if (!Number.isInteger(pid) || !alive() || !(await isPostgres())) return;
  process.kill(pid, 'SIGINT');
  const deadline = Date.now() + 10_000;
  while (alive()) {
    if (Date.now() > deadline)
      throw new Failure(`another Postgres (process ${pid}) uses ${data}: stop it and start again`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
