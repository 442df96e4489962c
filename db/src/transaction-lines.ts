import postgres from 'postgres';

type Options = NonNullable<Parameters<typeof postgres>[1]>;
type Statement = Parameters<postgres.Sql['unsafe']>;
type Work = (transaction: postgres.TransactionSql) => unknown;

const MAX_WAITING = 1024;
/** As the driver calls it. */
const CONNECTION_CLOSED = 'CONNECTION_CLOSED';

class TransactionLost extends Error {
  readonly code = CONNECTION_CLOSED;
  constructor() {
    super('The connection closed inside a transaction, which the database rolled back: try again.');
  }
}

/** A driver with one connection, so that its closing tells whose transaction is gone. */
interface Line {
  sql: postgres.Sql;
  lost: boolean;
  onLost: (() => void) | undefined;
}

/**
 * Runs transactions, each on a connection that nobody else uses meanwhile. The driver's own `begin` sends the rollback, and whatever the
 * callback asks next, down a connection that has just closed: that throws where nobody can catch it and ends the process. Here nothing is
 * sent after the connection closed; the transaction rejects at once with code CONNECTION_CLOSED.
 */
export class TransactionLines {
  private readonly url: string;
  private readonly options: Options;
  private readonly idle: Line[] = [];
  private readonly waiting: (() => void)[] = [];
  private free: number;
  private closed = false;

  /** At most `max` transactions run at a time; at most 1,024 more wait. */
  constructor(url: string, options: Options, max: number) {
    this.url = url;
    this.free = max;
    // Its lifetime would end a connection between two statements of a transaction.
    this.options = { ...options, max: 1, max_lifetime: 0 };
  }

  /** In the driver's place: resolves to what `work` did once it is committed. */
  readonly begin = async (first: string | Work, second?: Work): Promise<unknown> => {
    const work = typeof first === 'string' ? second! : first;
    await this.acquire();
    const line = this.take();
    try {
      return await this.run(line, typeof first === 'string' ? `begin ${first}` : 'begin', work);
    } finally {
      line.onLost = undefined;
      if (line.lost || this.closed) void line.sql.end({ timeout: 0 }).catch(() => {});
      else this.idle.push(line);
      this.release();
    }
  };

  async close(timeoutSeconds: number): Promise<void> {
    this.closed = true;
    await Promise.all(this.idle.splice(0).map(({ sql }) => sql.end({ timeout: timeoutSeconds })));
  }

  private async run(line: Line, begin: string, work: Work): Promise<unknown> {
    const closing = Promise.withResolvers<never>();
    closing.promise.catch(() => {});
    line.onLost = () => closing.reject(new TransactionLost());
    const whileOpen = <T>(step: PromiseLike<T>): Promise<T> => Promise.race([step, closing.promise]);
    let over = false;
    let failure: unknown;
    const unsafe = (...statement: Statement) => {
      if (over || line.lost) return refused(new TransactionLost());
      const query = line.sql.unsafe(...statement);
      query.catch((error: unknown) => {
        failure ??= error;
      });
      return query;
    };
    const savepoint = () => Promise.reject(new Error('transactions inside transactions are not supported'));
    try {
      await whileOpen(line.sql.unsafe(begin));
      const result = await whileOpen(
        Promise.resolve(work({ unsafe, savepoint } as unknown as postgres.TransactionSql)),
      );
      // The database would answer a commit with a rollback, silently.
      if (failure !== undefined) throw failure;
      await whileOpen(line.sql.unsafe('commit'));
      return result;
    } catch (error) {
      if (!line.lost) {
        await whileOpen(line.sql.unsafe('rollback')).catch(() => {
          line.lost = true;
        });
      }
      throw error;
    } finally {
      over = true;
    }
  }

  /** One whose connection closed while it was idle is not used again. */
  private take(): Line {
    for (;;) {
      const line = this.idle.pop();
      if (line === undefined) return this.open();
      if (!line.lost) return line;
      void line.sql.end({ timeout: 0 }).catch(() => {});
    }
  }

  private open(): Line {
    const onclose = () => {
      line.lost = true;
      line.onLost?.();
    };
    const line: Line = { sql: postgres(this.url, { ...this.options, onclose }), lost: false, onLost: undefined };
    return line;
  }

  private async acquire(): Promise<void> {
    if (this.closed) throw new Error('the database client is closed');
    if (this.free > 0) {
      this.free--;
      return;
    }
    if (this.waiting.length >= MAX_WAITING)
      throw new Error(`${MAX_WAITING} transactions wait already: ask fewer at once`);
    await new Promise<void>((resolve) => this.waiting.push(resolve));
  }

  private release(): void {
    const next = this.waiting.shift();
    if (next === undefined) this.free++;
    else next();
  }
}

/** What a query of the driver looks like that fails at once. */
function refused(error: Error): PromiseLike<never> {
  const rejected = () => Promise.reject(error);
  const promise = rejected();
  promise.catch(() => {});
  return Object.assign(promise, { values: rejected });
}
