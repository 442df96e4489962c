import { sql } from 'drizzle-orm';
import type { Database } from '../client.ts';

/** One round trip; rejects with the driver's error when the database does not answer. Returns the server's version. */
export async function ping(db: Database): Promise<string> {
  const [row] = await db.execute<{ version: string }>(sql`select current_setting('server_version') as version`);
  return row!.version;
}
