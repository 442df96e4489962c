import { type Heartbeat, LongshoreError } from '@longshore/core';
import type { RouterNamespace } from '../../bindings.ts';
import { within } from '../../http/within.ts';
import type { PickedWorker, PickQuery, PickResult, PoolRouterPort, ServedModel, WorkerIncarnation } from '../ports.ts';

/** A router answers from memory; the time is for waking it up. */
const ANSWER_WITHIN_MS = 3000;
/** A router that was moved or reset breaks the calls under way; the next stub finds its successor. */
const TRIES = 2;

/** Calls to a pool's router, each with a deadline and one more try. Rejects with `no_worker_available` when the router stays silent. */
export class RouterClient implements PoolRouterPort {
  private readonly namespace: RouterNamespace;
  private readonly pool: string;

  constructor(namespace: RouterNamespace, pool: string) {
    this.namespace = namespace;
    this.pool = pool;
  }

  heartbeat(beat: Heartbeat): Promise<void> {
    return this.call((router) => router.heartbeat(beat));
  }

  pick(query: PickQuery): Promise<PickResult> {
    return this.call((router) => router.pick(query));
  }

  release(worker: PickedWorker): Promise<void> {
    return this.call((router) => router.release(worker));
  }

  reportFailure(worker: WorkerIncarnation): Promise<void> {
    return this.call((router) => router.reportFailure(worker));
  }

  models(): Promise<ServedModel[]> {
    return this.call((router) => router.models());
  }

  liveWorkers(): Promise<number> {
    return this.call((router) => router.liveWorkers());
  }

  private async call<T>(run: (router: PoolRouterPort) => Promise<T>): Promise<T> {
    let cause: unknown;
    for (let attempt = 0; attempt < TRIES; attempt++) {
      try {
        const answer = run(this.namespace.getByName(this.pool)).then((value) => ({ value }));
        const inTime = await within(answer, ANSWER_WITHIN_MS);
        if (inTime !== undefined) return inTime.value;
        cause = new Error(`no answer within ${ANSWER_WITHIN_MS} ms`);
      } catch (error) {
        cause = error;
      }
    }
    throw new LongshoreError('no_worker_available', 'The router does not answer. Try again in a moment.', {
      retryAfterSeconds: 1,
      cause,
    });
  }
}
