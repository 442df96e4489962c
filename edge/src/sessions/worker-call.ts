import { LongshoreError } from '@longshore/core';
import type { SessionSummary } from '@longshore/db';
import { modelNotFound } from '../auth/domain/access.ts';
import { HttpWorkers } from '../generation/adapters/http-workers.ts';
import { WorkerLost } from '../generation/ports.ts';
import { SESSION_CHARACTERS_PER_TOKEN } from '../generation/run.ts';
import type { RequestScope } from '../request-scope.ts';
import type { PickedWorker, WorkerIncarnation } from '../router/ports.ts';

const MAX_WORKERS = 3;
const TIMEOUT_MS = 30_000;
/** Refusals of a worker's moment: another one may take it. */
const ELSEWHERE: ReadonlySet<string> = new Set(['draining', 'overloaded', 'worker_failed']);

export interface WorkerCallOptions {
  model: string;
  holder: string | undefined;
  tokenCount: number;
  /** Default 3; 1 for what cannot be sent twice. */
  maxWorkers?: number;
}

export const callOptionsOf = ({ model, workerId, tokenCount }: SessionSummary): WorkerCallOptions => ({
  model,
  holder: workerId ?? undefined,
  tokenCount,
});

/**
 * Asks one worker after another, the session's holder first, until one has answered. `call` must be safe to repeat: the answer of a
 * worker that was lost may have been a success. Throws LongshoreError.
 */
export async function onSomeWorker<T>(
  scope: RequestScope,
  options: WorkerCallOptions,
  call: (workers: HttpWorkers, worker: PickedWorker) => Promise<T>,
): Promise<T> {
  const workers = new HttpWorkers(scope.config.poolToken);
  const excluded: WorkerIncarnation[] = [];
  let lastError: LongshoreError | undefined;
  while (excluded.length < (options.maxWorkers ?? MAX_WORKERS)) {
    const { model, holder, tokenCount } = options;
    const characters = SESSION_CHARACTERS_PER_TOKEN * tokenCount;
    const query = { model, chain: [], characters, tieBreaker: scope.requestId, holder, excluded };
    const picked = await scope.router.pick(query);
    if (picked.outcome === 'unknown_model') throw modelNotFound(model);
    if (picked.outcome === 'no_live_worker') break;
    const { worker } = picked;
    try {
      return await call(workers, worker);
    } catch (error) {
      if (error instanceof WorkerLost) {
        await scope.router.reportFailure(worker);
        lastError = new LongshoreError(
          'worker_failed',
          'The worker was lost and no other could take over. Try again.',
          {
            cause: error,
          },
        );
      } else if (error instanceof LongshoreError && ELSEWHERE.has(error.code)) lastError = error;
      else throw error;
      excluded.push({ workerId: worker.workerId, epoch: worker.epoch });
    } finally {
      scope.defer('release', scope.router.release(worker));
    }
  }
  throw (
    lastError ??
    new LongshoreError(
      'no_worker_available',
      `No worker that serves "${options.model}" is up. Try again in a few seconds.`,
      {
        retryAfterSeconds: 5,
      },
    )
  );
}

/** A JSON question to the session's worker, or another one. */
export function askWorker<T>(scope: RequestScope, session: SessionSummary, path: string, fields: object): Promise<T> {
  const { organizationId, model, id } = session;
  const body = { requestId: scope.requestId, organizationId, model, session: id, ...fields };
  return onSomeWorker(scope, callOptionsOf(session), async (workers, worker) => {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    return (await workers.ask(worker, path, body, signal)) as T;
  });
}
