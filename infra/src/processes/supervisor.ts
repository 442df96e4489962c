import { Child, type ChildSpec, type Exit } from './child.ts';
import type { OrphanGuard } from './orphan-guard.ts';

const FIRST_BACKOFF_MS = 500;
const LONGEST_BACKOFF_MS = 15_000;
/** A run this long clears the record: the next failure is restarted at once again. */
const HEALTHY_RUN_MS = 60_000;
const MOST_FAILURES = 8;

export interface SupervisorEvents {
  /** `retryInMs` is undefined when it gave up. */
  failed(child: Child, exit: Exit, retryInMs: number | undefined): void;
  restarted(child: Child): void;
}

/** Keeps one process running: restarts it with growing pauses, and gives up after 8 failures without a healthy minute. */
export class Supervisor {
  private readonly spec: ChildSpec;
  private readonly guard: OrphanGuard;
  private readonly events: SupervisorEvents;
  private child: Child;
  private failures = 0;
  private wanted = true;
  private timer: NodeJS.Timeout | undefined;

  constructor(spec: ChildSpec, guard: OrphanGuard, events: SupervisorEvents) {
    this.spec = spec;
    this.guard = guard;
    this.events = events;
    this.child = this.launch();
  }

  get current(): Child {
    return this.child;
  }

  get name(): string {
    return this.spec.name;
  }

  private launch(): Child {
    const child = new Child(this.spec, this.guard);
    child.exited.then(
      (exit) => this.ended(child, exit),
      () => this.ended(child, { status: null, signal: null }),
    );
    return child;
  }

  private ended(child: Child, exit: Exit): void {
    if (!this.wanted || child !== this.child) return;
    this.failures = Date.now() - child.startedAt > HEALTHY_RUN_MS ? 1 : this.failures + 1;
    if (this.failures > MOST_FAILURES) {
      this.events.failed(child, exit, undefined);
      return;
    }
    const pause = Math.min(FIRST_BACKOFF_MS * 2 ** (this.failures - 1), LONGEST_BACKOFF_MS);
    this.events.failed(child, exit, pause);
    this.timer = setTimeout(() => {
      this.child = this.launch();
      this.events.restarted(this.child);
    }, pause);
  }

  /** Ends it for good, by a signal or in order. */
  async stop(signal?: NodeJS.Signals): Promise<void> {
    this.wanted = false;
    clearTimeout(this.timer);
    if (signal) this.child.kill(signal);
    await this.child.stop();
  }

  /** Starts it again after stop(). */
  async start(): Promise<void> {
    if (this.wanted) return;
    await this.child.stop();
    this.wanted = true;
    this.failures = 0;
    this.child = this.launch();
  }
}
