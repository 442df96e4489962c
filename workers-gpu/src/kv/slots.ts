import { StoreError } from './ports.ts';

/** At most `limit` holders at a time, served in order; at most `maxWaiting` wait. */
export class Slots {
  private free: number;
  private readonly waiting: (() => void)[] = [];
  private readonly maxWaiting: number;

  constructor(limit: number, maxWaiting: number) {
    this.free = limit;
    this.maxWaiting = maxWaiting;
  }

  /** Undefined when too many wait already. Rejects with StoreError cancelled. Call what it resolves to exactly once. */
  acquire(signal?: AbortSignal): Promise<() => void> | undefined {
    if (this.free > 0) {
      this.free--;
      return Promise.resolve(this.releaser());
    }
    if (this.waiting.length >= this.maxWaiting) return undefined;
    return new Promise((resolve, reject) => {
      const cancelled = () => {
        this.waiting.splice(this.waiting.indexOf(turn), 1);
        reject(new StoreError('cancelled', 'waiting was cancelled'));
      };
      const turn = () => {
        signal?.removeEventListener('abort', cancelled);
        resolve(this.releaser());
      };
      if (signal?.aborted) return reject(new StoreError('cancelled', 'waiting was cancelled'));
      signal?.addEventListener('abort', cancelled, { once: true });
      this.waiting.push(turn);
    });
  }

  private releaser(): () => void {
    let released = false;
    return () => {
      if (released) return;
      released = true;
      const next = this.waiting.shift();
      if (next) next();
      else this.free++;
    };
  }
}
