import { createDatabase, type Database, type DatabaseClient } from '@longshore/db';
import type { Bindings } from './bindings.ts';
import { type EdgeConfig, readConfig } from './config.ts';
import { query } from './http/database-failure.ts';
import { randomId } from './http/random-id.ts';
import { RouterClient } from './router/adapters/router-client.ts';
import type { PoolRouterPort } from './router/ports.ts';

/** On Workers a request may wait on six connections at once: one for the database, the rest for workers. */
const DATABASE_CONNECTIONS = 1;
const CONNECT_TIMEOUT_SECONDS = 3;
const QUERY_TIMEOUT_MS = 5000;

/**
 * What one request owns. Connections may not be shared between requests on Workers, so the database client is opened here on
 * first use and closed when everything that was deferred has ended.
 */
export class RequestScope {
  readonly requestId: string;
  readonly config: EdgeConfig;
  readonly router: PoolRouterPort;
  readonly startedAt: number;
  private readonly connectionString: string;
  private client: DatabaseClient | undefined;
  private readonly deferred: Promise<unknown>[] = [];

  constructor(bindings: Bindings) {
    this.requestId = randomId('request');
    this.startedAt = Date.now();
    this.config = readConfig(bindings);
    this.router = new RouterClient(bindings.POOL_ROUTER, this.config.pool);
    this.connectionString = bindings.HYPERDRIVE.connectionString;
  }

  /** Runs a named query; rejects with `database_unavailable` when the database does not answer in time. */
  async query<T>(run: (db: Database) => Promise<T>): Promise<T> {
    this.client ??= createDatabase(this.connectionString, {
      max: DATABASE_CONNECTIONS,
      connectTimeoutSeconds: CONNECT_TIMEOUT_SECONDS,
      statementTimeoutMs: QUERY_TIMEOUT_MS,
    });
    const { db } = this.client;
    return query(() => run(db), QUERY_TIMEOUT_MS);
  }

  /** Keeps the request alive until `work` ends; its failure is logged, never thrown. */
  defer(name: string, work: Promise<unknown>): void {
    this.deferred.push(
      work.catch((error: unknown) => {
        console.error(JSON.stringify({ level: 'error', at: name, request_id: this.requestId, error: String(error) }));
      }),
    );
  }

  /** Resolves when nothing is deferred any more, work deferred meanwhile included, and the database client is closed. */
  async settled(): Promise<void> {
    for (let next = this.deferred.shift(); next !== undefined; next = this.deferred.shift()) await next;
    await this.client?.close();
  }
}
