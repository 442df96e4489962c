import { createConnection } from 'node:net';
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

/** True when something accepts connections there and answers as Postgres does (an SSLRequest gets one byte, S or N). */
export function answersAsPostgres(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: '127.0.0.1', port });
    const finish = (result: boolean) => {
      socket.destroy();
      resolve(result);
    };
    socket.setTimeout(1000, () => finish(false));
    socket.once('error', () => finish(false));
    socket.once('data', (data) => finish(data[0] === 0x53 || data[0] === 0x4e));
    socket.once('connect', () => socket.write(Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])));
  });
}
