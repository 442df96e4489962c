import { DurableObject } from 'cloudflare:workers';
import type { Heartbeat } from '@longshore/core';
import { Pool } from './domain/pool.ts';
import type { PickedWorker, PickQuery, PickResult, PoolRouterPort, ServedModel, WorkerIncarnation } from './ports.ts';

/** One pool's router. All state is in memory: heartbeats rebuild it within a second of a restart. */
export class PoolRouter extends DurableObject implements PoolRouterPort {
  private readonly pool = new Pool();

  async heartbeat(beat: Heartbeat): Promise<void> {
    this.pool.heartbeat(beat, Date.now());
  }

  async pick(query: PickQuery): Promise<PickResult> {
    return this.pool.pick(query, Date.now());
  }

  async reportFailure(worker: WorkerIncarnation): Promise<void> {
    this.pool.reportFailure(worker);
  }

  async release(worker: PickedWorker): Promise<void> {
    this.pool.release(worker);
  }

  async models(): Promise<ServedModel[]> {
    return this.pool.models(Date.now());
  }

  async liveWorkers(): Promise<number> {
    return this.pool.liveWorkers(Date.now());
  }
}
