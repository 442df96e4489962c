import { LongshoreError } from '@longshore/core';

/** Counts requests from their arrival to their end, cancels them by id, and turns them away while draining. */
export class RequestGate {
  private readonly active = new Map<AbortController, string>();
  private readonly maxActive: number;
  private readonly retryAfterSeconds: () => number;
  private closed = false;
  private idle: (() => void) | undefined;

  constructor(maxActive: number, retryAfterSeconds: () => number) {
    this.maxActive = maxActive;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  get count(): number {
    return this.active.size;
  }

  get draining(): boolean {
    return this.closed;
  }

  /** Throws LongshoreError draining or overloaded. The caller must `leave` with the same controller. */
  enter(requestId: string): AbortController {
    if (this.closed) {
      throw new LongshoreError('draining', 'This worker is shutting down; send the request to another one.', {
        retryAfterSeconds: 1,
      });
    }
    if (this.active.size >= this.maxActive) {
      const retryAfterSeconds = this.retryAfterSeconds();
      throw new LongshoreError(
        'overloaded',
        `This worker already holds ${this.active.size} requests; retry in ${retryAfterSeconds} s.`,
        { retryAfterSeconds },
      );
    }
    const controller = new AbortController();
    this.active.set(controller, requestId);
    return controller;
  }

  leave(controller: AbortController): void {
    this.active.delete(controller);
    if (this.active.size === 0) this.idle?.();
  }

  /** How many requests with this id were told to stop. */
  cancel(requestId: string): number {
    const found = [...this.active].filter(([, id]) => id === requestId);
    for (const [controller] of found) {
      controller.abort(new LongshoreError('cancelled', 'The request was cancelled.'));
    }
    return found.length;
  }

  abortAll(error: LongshoreError): void {
    for (const controller of this.active.keys()) controller.abort(error);
  }

  /** No new requests from now on; resolves true when the last one ended, false after `timeoutMs`. Idempotent. */
  async drain(timeoutMs: number): Promise<boolean> {
    this.closed = true;
    if (this.active.size === 0) return true;
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeoutMs);
      const before = this.idle;
      this.idle = () => {
        before?.();
        clearTimeout(timer);
        resolve(true);
      };
    });
  }
}
