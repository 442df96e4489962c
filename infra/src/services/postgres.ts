import { createDatabase, pingDatabase } from '@longshore/db';
import type { Home } from '../home/home.ts';
import type { ChildSpec } from '../processes/child.ts';
import { LogFile } from '../processes/log-file.ts';
import type { Cluster } from './postgres-cluster.ts';

/** The embedded Postgres: TCP on 127.0.0.1 only, no sockets in the file system. */
export function postgresSpec(home: Home, cluster: Cluster, port: number): ChildSpec {
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '100',
    shared_buffers: '64MB',
    // Losing the last moments of a local database in a power cut is fine; a torn one is not, so fsync stays on.
    synchronous_commit: 'off',
    log_min_messages: 'warning',
  };
  return {
    name: 'postgres',
    command: cluster.postgres,
    args: [
      '-D',
      cluster.data,
      '-p',
      String(port),
      ...Object.entries(settings).flatMap(([k, v]) => ['-c', `${k}=${v}`]),
    ],
    env: { PATH: process.env.PATH, LANG: 'C', LC_ALL: 'C' },
    cwd: '/',
    log: new LogFile(home.log('postgres')),
    // Fast shutdown: open transactions are rolled back.
    stopSignal: 'SIGINT',
    graceMs: 10_000,
    ...cluster.account,
  };
}

export const postgresUrl = (port: number, password: string): string =>
  `postgres://longshore:${password}@127.0.0.1:${port}/postgres`;

/** True when it answers a query: a server that starts up or recovers accepts connections before it does. */
export async function databaseAnswers(url: string): Promise<boolean> {
  const { db, close } = createDatabase(url, { max: 1, connectTimeoutSeconds: 2 });
  try {
    await pingDatabase(db);
    return true;
  } finally {
    await close();
  }
}
