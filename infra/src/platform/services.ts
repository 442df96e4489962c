import type { ChildSpec } from '../processes/child.ts';
import { OrphanGuard } from '../processes/orphan-guard.ts';
import { Supervisor, type SupervisorEvents } from '../processes/supervisor.ts';

/** Every supervised process of a platform, in the order in which they were started; they are stopped in reverse. */
export class Services {
  private readonly guard = new OrphanGuard();
  private readonly events: SupervisorEvents;
  private readonly running: Supervisor[] = [];
  private stopping: Promise<void> | undefined;

  constructor(events: SupervisorEvents) {
    this.events = events;
  }

  /** Throws once stopAll() was called. */
  launch(spec: ChildSpec): Supervisor {
    if (this.stopping) throw new Error('the platform is stopping');
    const supervisor = new Supervisor(spec, this.guard, this.events);
    this.running.push(supervisor);
    return supervisor;
  }

  /** Consumers end before what they use: edge, then workers, then stores. Idempotent. */
  stopAll(): Promise<void> {
    this.stopping ??= this.stopInReverse();
    return this.stopping;
  }

  private async stopInReverse(): Promise<void> {
    const ranks = [...new Set(this.running.map(rank))].sort((a, b) => b - a);
    for (const current of ranks) {
      await Promise.all(this.running.filter((one) => rank(one) === current).map((one) => one.stop()));
    }
    this.guard.close();
  }
}

/** Stores 0, workers 1, edge 2: the same rank ends together. */
function rank(supervisor: Supervisor): number {
  if (supervisor.name === 'edge') return 2;
  return supervisor.name.startsWith('worker') ? 1 : 0;
}
