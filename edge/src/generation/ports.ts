import type { GenerateEvent, GenerateRequest, PrefillRequest } from '@longshore/core';
import type { PickedWorker } from '../router/ports.ts';

/** What a worker is asked for. */
export type WorkerTask = { path: '/generate'; body: GenerateRequest } | { path: '/prefill'; body: PrefillRequest };

export interface WorkersPort {
  /**
   * Runs the task and yields its events. Throws LongshoreError for the worker's own refusal before the first event, WorkerLost
   * when the worker cannot be reached, falls silent or breaks off. Ending without `done` or `error` is breaking off.
   */
  events(worker: PickedWorker, task: WorkerTask, signal: AbortSignal): AsyncGenerator<GenerateEvent>;
  /** Stops the request's work there. Never rejects: the worker may be gone, the request may have ended. */
  cancel(worker: PickedWorker, requestId: string): Promise<void>;
}

/** The worker, not the request, is at fault: another worker may do better. */
export class WorkerLost extends Error {
  constructor(workerId: string, what: string, cause?: unknown) {
    super(`worker ${workerId} ${what}`, cause === undefined ? undefined : { cause });
    this.name = 'WorkerLost';
  }
}
