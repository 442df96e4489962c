import type { Heartbeat } from '@longshore/core';

/** What the edge asks of a pool's router. Every implementation forgets everything when it restarts: heartbeats fill it again. */
export interface PoolRouterPort {
  heartbeat(beat: Heartbeat): Promise<void>;
  pick(query: PickQuery): Promise<PickResult>;
  /** The picked request has ended, however it did: it is no load any more. */
  release(worker: PickedWorker): Promise<void>;
  /** The worker did not answer: it is not picked again before its next heartbeat. */
  reportFailure(worker: WorkerIncarnation): Promise<void>;
  models(): Promise<ServedModel[]>;
  liveWorkers(): Promise<number>;
}

/** One process of a worker: a restart changes the epoch. */
export interface WorkerIncarnation {
  workerId: string;
  epoch: string;
}

export interface PickQuery {
  model: string;
  /** Hash chain over the prompt's text (prefix-chain.ts), shortest prefix first. May be empty. */
  chain: string[];
  /** Length of the whole prompt's text. */
  characters: number;
  /** Decides between equals; any string, the same one picks the same worker. */
  tieBreaker: string;
  /** Worker that last held this prompt's blocks, known from elsewhere (a session's row). */
  holder?: string;
  /** Already failed on this request. */
  excluded: WorkerIncarnation[];
}

export interface PickedWorker extends WorkerIncarnation {
  url: string;
  /** Names this pick when it is released. */
  ticket: number;
}

export type PickResult =
  | { outcome: 'picked'; worker: PickedWorker }
  /** The model is served by this pool, but no live worker is left. */
  | { outcome: 'no_live_worker' }
  | { outcome: 'unknown_model' };

export interface ServedModel {
  id: string;
  family: string;
  contextLength: number;
  chat: boolean;
  /** Unix seconds. */
  createdAt: number;
}
