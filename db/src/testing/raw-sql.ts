import { sql } from 'drizzle-orm';
import type { Database } from '../client.ts';

/** For tests of other workspaces, which may not speak SQL themselves: looks at, or breaks, what no named query does. */
export async function rawSql(db: Database, statement: string): Promise<Record<string, unknown>[]> {
  return [...(await db.execute(sql.raw(statement)))];
}
