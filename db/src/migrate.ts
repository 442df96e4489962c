import { fileURLToPath } from 'node:url';
import { drizzle } from 'drizzle-orm/postgres-js';
import { migrate as applyMigrations } from 'drizzle-orm/postgres-js/migrator';
import postgres from 'postgres';

/** Any constant of our own: two processes that migrate at once take turns. */
const MIGRATION_LOCK = 0x4c_53_4b_56;

/**
 * Brings the database at `url` to this build's schema; a no-op when it is there already. Safe to call from several processes
 * at once. Rejects with the driver's error when the database is unreachable or refuses a statement. Node only.
 */
export async function migrate(url: string): Promise<void> {
  const sql = postgres(url, { max: 1, connect_timeout: 10, onnotice: () => {} });
  try {
    await sql`select pg_advisory_lock(${MIGRATION_LOCK})`;
    await applyMigrations(drizzle(sql), { migrationsFolder: fileURLToPath(new URL('../migrations', import.meta.url)) });
  } finally {
    await sql.end({ timeout: 2 });
  }
}
