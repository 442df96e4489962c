import { sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { usage } from '../schema.ts';

export type UsageRow = Omit<typeof usage.$inferInsert, 'createdAt'>;

/** Idempotent: a request is recorded once, its first row wins. */
export async function recordUsage(db: Database, row: UsageRow): Promise<void> {
  await db.insert(usage).values(row).onConflictDoNothing({ target: usage.requestId });
}

/** Throws the driver's error when the database does not answer. */
export async function pingDatabase(db: Database): Promise<void> {
  await db.execute(sql`select now()`);
}
