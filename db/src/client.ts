import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import postgres from 'postgres';
import * as schema from './schema.ts';

export type Database = PostgresJsDatabase<typeof schema>;

export interface DatabaseOptions {
  /** Connections at most. On Workers: at most 5, and one client per request. */
  max?: number;
  /** Seconds to wait for a connection. */
  connectTimeoutSeconds?: number;
  /** Milliseconds after which the server ends a statement. */
  statementTimeoutMs?: number;
}

export interface DatabaseClient {
  db: Database;
  /** Idempotent; waits at most 2 seconds for running queries. */
  close(): Promise<void>;
}

/** Opens lazily: the first query connects. `url` is a postgres:// connection string. */
export function createDatabase(url: string, options: DatabaseOptions = {}): DatabaseClient {
  const sql = postgres(url, {
    max: options.max ?? 8,
    connect_timeout: options.connectTimeoutSeconds ?? 5,
    idle_timeout: 20,
    fetch_types: false,
    onnotice: () => {},
    connection: { statement_timeout: options.statementTimeoutMs ?? 10_000 },
  });
  return { db: drizzle(sql, { schema }), close: () => sql.end({ timeout: 2 }) };
}
