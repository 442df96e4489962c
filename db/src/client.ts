import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import postgres from 'postgres';
import * as schema from './schema.ts';
import { TransactionLines } from './transaction-lines.ts';

const CLOSE_SECONDS = 2;

export type Database = PostgresJsDatabase<typeof schema>;

export interface DatabaseOptions {
  /** Connections at most, half of them for transactions; at least one of each. On Workers: at most 5, and one client per request. */
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
  const max = options.max ?? 8;
  const forTransactions = Math.max(1, Math.floor(max / 2));
  const settings = {
    connect_timeout: options.connectTimeoutSeconds ?? 5,
    idle_timeout: 20,
    fetch_types: false,
    onnotice: () => {},
    connection: { statement_timeout: options.statementTimeoutMs ?? 10_000 },
  };
  const sql = postgres(url, { ...settings, max: Math.max(1, max - forTransactions) });
  const lines = new TransactionLines(url, settings, forTransactions);
  sql.begin = lines.begin as typeof sql.begin;
  const close = async () => {
    await Promise.all([sql.end({ timeout: CLOSE_SECONDS }), lines.close(CLOSE_SECONDS)]);
  };
  return { db: drizzle(sql, { schema }), close };
}
