import type { Heartbeat } from '@longshore/core';
import type { PickedWorker, PickQuery, PickResult, ServedModel, WorkerIncarnation } from '../ports.ts';
import { computedTokens, isFull, occupancy, timeToFirstToken, tokensOf, withinBoundedLoad } from './cost.ts';
import { charactersCovered, hashString } from './prefix-chain.ts';
import { PrefixIndex } from './prefix-index.ts';
import { type WorkerState, WorkerTable } from './worker-table.ts';

interface Candidate {
  worker: WorkerState;
  seconds: number;
  /** Tokens it will have to compute. */
  tokens: number;
  /** Orders equals, differently for each request. */
  tie: number;
}

const byCost = (a: Candidate, b: Candidate): number =>
  a.seconds - b.seconds || occupancy(a.worker) - occupancy(b.worker) || a.tie - b.tie;

/** One pool's routing decisions: a plain value in memory, time is an argument. */
export class Pool {
  private readonly table = new WorkerTable();
  private readonly index: PrefixIndex;
  private nextTicket = 1;

  constructor(index: PrefixIndex = new PrefixIndex()) {
    this.index = index;
  }

  heartbeat(beat: Heartbeat, now: number): void {
    this.table.heartbeat(beat, now);
  }

  reportFailure(worker: WorkerIncarnation): void {
    this.table.suspect(worker);
  }

  release({ workerId, ticket }: PickedWorker): void {
    this.table.released(workerId, ticket);
  }

  models(now: number): ServedModel[] {
    const models = new Map(this.table.live(now).map(({ beat }) => [beat.model.id, beat.model]));
    return [...models.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  liveWorkers(now: number): number {
    return this.table.live(now).length;
  }

  /** The live worker with the least expected time to first token among those that are not overloaded. Records its choice. */
  pick(query: PickQuery, now: number): PickResult {
    const serving = this.table.live(now).filter(({ beat }) => beat.model.id === query.model);
    if (serving.length === 0) return { outcome: this.isUnknown(query.model) ? 'unknown_model' : 'no_live_worker' };
    const failed = new Set(query.excluded.map(({ workerId, epoch }) => `${workerId}\n${epoch}`));
    const usable = serving.filter(({ beat }) => !failed.has(`${beat.workerId}\n${beat.epoch}`));
    if (usable.length === 0) return { outcome: 'no_live_worker' };

    const open = usable.filter((worker) => !isFull(worker));
    const candidates = this.candidates(withinBoundedLoad(open.length > 0 ? open : usable), query);
    const { worker, tokens } = candidates.sort(byCost)[0]!;
    const { workerId, epoch, url } = worker.beat;
    this.index.record(query.chain, { workerId, epoch });
    const ticket = this.nextTicket++;
    this.table.picked(workerId, { ticket, at: now, tokens });
    return { outcome: 'picked', worker: { workerId, epoch, url, ticket } };
  }

  private candidates(workers: readonly WorkerState[], query: PickQuery): Candidate[] {
    const held = this.index.match(query.chain, new Map(workers.map(({ beat }) => [beat.workerId, beat.epoch])));
    return workers.map((worker) => {
      const { workerId } = worker.beat;
      const heldCharacters = workerId === query.holder ? query.characters : charactersCovered(held.get(workerId) ?? 0);
      const [prompt, reused] = [tokensOf(query.characters), tokensOf(heldCharacters)];
      return {
        worker,
        seconds: timeToFirstToken(worker, prompt, reused),
        tokens: computedTokens(prompt, reused),
        tie: hashString(`${query.tieBreaker}\u0000${workerId}`),
      };
    });
  }

  /** With no worker heard of at all (a router that just started), a model is not called unknown. */
  private isUnknown(model: string): boolean {
    const workers = this.table.all();
    return workers.length > 0 && !workers.some(({ beat }) => beat.model.id === model);
  }
}
