import { type ErrorCode, fromWireError, type GenerateEvent, LongshoreError } from '@longshore/core';
import { modelNotFound } from '../auth/domain/access.ts';
import type { PickedWorker, PickQuery, PoolRouterPort, WorkerIncarnation } from '../router/ports.ts';
import { WorkerLost, type WorkersPort, type WorkerTask } from './ports.ts';

/** Workers tried for one request at most, the first included. */
const MAX_WORKERS = 4;
/** How long a request that has begun waits for a worker to come back when none is left. */
const REVIVAL_WAIT_MS = 15_000;
const REVIVAL_POLL_MS = 250;
/** Refusals that another worker may not share. A prefill conflicts with what a lost attempt left on the same worker. */
const BEFORE_THE_ANSWER: Record<WorkerTask['path'], readonly ErrorCode[]> = {
  '/generate': ['overloaded'],
  '/prefill': ['overloaded', 'conflict'],
};

export type AcceptedEvent = Extract<GenerateEvent, { type: 'accepted' }>;
export type DoneEvent = Extract<GenerateEvent, { type: 'done' }>;

export interface RelayParts {
  router: PoolRouterPort;
  workers: WorkersPort;
  task: WorkerTask;
  /** How the router finds the holder of this prompt. */
  prompt: Pick<PickQuery, 'chain' | 'characters' | 'holder'>;
  /** Aborted with a LongshoreError as reason: the client left, or the deadline passed. */
  signal: AbortSignal;
  /** Told once for each worker that no longer has the task. */
  onLeave: (worker: PickedWorker) => void;
}

/**
 * One task carried to its end, on several workers if need be. When a worker is lost the next one continues from the prompt and
 * the tokens already delivered, with the seed that the first one drew, so the reader sees one uninterrupted answer.
 */
export class Relay {
  accepted: AcceptedEvent | undefined;
  done: DoneEvent | undefined;
  /** Workers lost on the way. */
  losses = 0;
  /** The worker that has the task now, or had it last. */
  worker: PickedWorker | undefined;
  readonly delivered: number[] = [];
  private readonly parts: RelayParts;
  private readonly excluded: WorkerIncarnation[] = [];
  private lastError: LongshoreError | undefined;
  /** The current worker is at work on the task, as far as is known here. */
  private isOpen = false;

  constructor(parts: RelayParts) {
    this.parts = parts;
  }

  get requestId(): string {
    return this.parts.task.body.requestId;
  }

  /** `accepted` once, tokens in order without gap or repetition, `done` last. Throws LongshoreError. Call once. */
  async *events(): AsyncGenerator<GenerateEvent> {
    const { workers, signal } = this.parts;
    try {
      while (this.done === undefined) {
        this.worker = await this.nextWorker();
        this.isOpen = true;
        try {
          for await (const event of workers.events(this.worker, this.task(), signal)) {
            if (event.type === 'error') throw fromWireError(event.error);
            if (this.take(event)) yield event;
          }
          if (this.done === undefined) throw new WorkerLost(this.worker.workerId, 'ended its stream early');
        } catch (error) {
          await this.lose(this.worker, error);
        }
      }
    } finally {
      await this.abandon();
    }
  }

  /** Stops the work on the current worker, wherever the stream stands. */
  async abandon(): Promise<void> {
    if (!this.isOpen) return;
    this.leave(this.worker!);
    await this.parts.workers.cancel(this.worker!, this.requestId);
  }

  private leave(worker: PickedWorker): void {
    if (this.isOpen) this.parts.onLeave(worker);
    this.isOpen = false;
  }

  /** False for what the reader has seen already. */
  private take(event: GenerateEvent): boolean {
    if (event.type === 'done') {
      this.done = event;
      this.leave(this.worker!);
    }
    if (event.type === 'token') this.delivered.push(event.id);
    if (event.type !== 'accepted') return true;
    const first = this.accepted === undefined;
    this.accepted ??= event;
    return first;
  }

  /** The task as the next worker gets it. */
  private task(): WorkerTask {
    const { task } = this.parts;
    if (task.path === '/prefill' || this.accepted === undefined || this.losses === 0) return task;
    const sampling = { ...task.body.sampling, seed: this.accepted.seed };
    return {
      path: task.path,
      body: {
        ...task.body,
        sampling,
        continuation: { tokens: [...(task.body.continuation?.tokens ?? []), ...this.delivered] },
      },
    };
  }

  private async nextWorker(): Promise<PickedWorker> {
    const { router, prompt, task, signal } = this.parts;
    const until = Date.now() + REVIVAL_WAIT_MS;
    for (;;) {
      signal.throwIfAborted();
      const { model } = task.body;
      const picked = await router.pick({ ...prompt, model, tieBreaker: this.requestId, excluded: this.excluded });
      if (picked.outcome === 'picked') return picked.worker;
      if (this.lastError !== undefined && (this.accepted === undefined || Date.now() > until)) throw this.lastError;
      if (picked.outcome === 'unknown_model') throw modelNotFound(model);
      if (this.accepted === undefined)
        throw new LongshoreError(
          'no_worker_available',
          `No worker that serves "${model}" is up. Try again in a few seconds.`,
          {
            retryAfterSeconds: 5,
          },
        );
      await new Promise((resolve) => setTimeout(resolve, REVIVAL_POLL_MS));
    }
  }

  /** Returns when another worker may try, throws when the request is over. */
  private async lose(worker: PickedWorker, error: unknown): Promise<void> {
    const { router, workers, signal } = this.parts;
    signal.throwIfAborted();
    this.leave(worker);
    const { workerId, epoch } = worker;
    if (error instanceof WorkerLost) {
      await Promise.all([router.reportFailure({ workerId, epoch }), workers.cancel(worker, this.requestId)]);
      this.lastError = new LongshoreError(
        'worker_failed',
        `The worker was lost and no other could take over. Try again.`,
        {
          cause: error,
        },
      );
    } else if (error instanceof LongshoreError && this.mayMove(error)) this.lastError = error;
    else throw error;
    this.losses++;
    this.excluded.push({ workerId, epoch });
    console.warn(
      JSON.stringify({
        level: 'warn',
        at: 'worker_lost',
        request_id: this.requestId,
        worker: workerId,
        error: String(error),
      }),
    );
    if (this.excluded.length >= MAX_WORKERS) throw this.lastError;
  }

  /** Faults of a worker, or of a worker's moment. */
  private mayMove({ code }: LongshoreError): boolean {
    if (code === 'worker_failed' || code === 'draining') return true;
    return this.accepted === undefined && BEFORE_THE_ANSWER[this.parts.task.path].includes(code);
  }
}
