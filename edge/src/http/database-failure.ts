import { LongshoreError } from '@longshore/core';

/** SQLSTATE classes in which the statement is at fault; in every other case the database is. */
const STATEMENT_CLASSES = new Set(['21', '22', '23', '40', '42']);

function sqlStateOf(error: unknown): string | undefined {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const { code } = cause as { code?: unknown };
    if (cause.name === 'PostgresError' && typeof code === 'string') return code;
  }
  return undefined;
}

function translate(error: unknown): LongshoreError {
  if (error instanceof LongshoreError) return error;
  const state = sqlStateOf(error);
  if (state !== undefined && STATEMENT_CLASSES.has(state.slice(0, 2)))
    return new LongshoreError('internal', 'Internal error; see the server log.', { cause: error });
  return new LongshoreError('database_unavailable', 'The database does not answer. Try again in a few seconds.', {
    retryAfterSeconds: 2,
    cause: error,
  });
}

/** Runs a query with a deadline. Rejects with `database_unavailable` when the database cannot be reached, is shutting down or late. */
export async function query<T>(run: () => Promise<T>, timeoutMs: number): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  const work = run();
  work.catch(() => {});
  try {
    return await Promise.race([work, late.promise]);
  } catch (error) {
    throw translate(error);
  } finally {
    clearTimeout(timer);
  }
}
