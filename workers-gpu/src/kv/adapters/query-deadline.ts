import { StoreError } from '../ports.ts';

/** Longest a caller waits for one query; the statement itself is ended by the server's statement_timeout. */
const QUERY_TIMEOUT_MS = 3000;

/** Rejects with StoreError only. */
export async function within<T>(query: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    const late = () => reject(new StoreError('timeout', 'the database did not answer in time'));
    timer = setTimeout(late, QUERY_TIMEOUT_MS);
  });
  try {
    return await Promise.race([query, deadline]);
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    throw new StoreError('unavailable', `database: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
  } finally {
    clearTimeout(timer);
  }
}
