import { HEARTBEAT_STALE_MS, type Heartbeat } from '@longshore/core';
import type { WorkerIncarnation } from '../ports.ts';

/** Workers remembered at most, live or not. */
const MAX_WORKERS = 1024;
/** Picks kept per worker; more can only come within one heartbeat. */
const MAX_PENDING = 1024;
/** A silent worker is forgotten after this time; its model stays known that long. */
const FORGET_AFTER_MS = 10 * 60_000;
/** A pick this old when a heartbeat arrives is part of the load that the heartbeat reports. */
const PICK_VISIBLE_AFTER_MS = 250;

interface PendingPick {
  ticket: number;
  at: number;
  tokens: number;
}

export interface WorkerState {
  beat: Heartbeat;
  seenAt: number;
  /** Set when a request could not reach the worker; cleared by its next heartbeat. */
  suspect: boolean;
  /** Picks that no heartbeat accounts for yet. */
  pending: PendingPick[];
}

/** The workers of one pool by id, as their heartbeats describe them. Times in epoch milliseconds, given by the caller. */
export class WorkerTable {
  private readonly workers = new Map<string, WorkerState>();

  heartbeat(beat: Heartbeat, now: number): void {
    const before = this.workers.get(beat.workerId);
    const pending =
      before?.beat.epoch === beat.epoch ? before.pending.filter((pick) => now - pick.at < PICK_VISIBLE_AFTER_MS) : [];
    this.workers.delete(beat.workerId);
    this.workers.set(beat.workerId, { beat, seenAt: now, suspect: false, pending });
    this.forget(now);
  }

  /** Ready, heard of within HEARTBEAT_STALE_MS, and not suspect. */
  live(now: number): WorkerState[] {
    return [...this.workers.values()].filter(
      (worker) => worker.beat.state === 'ready' && !worker.suspect && now - worker.seenAt <= HEARTBEAT_STALE_MS,
    );
  }

  all(): WorkerState[] {
    return [...this.workers.values()];
  }

  suspect({ workerId, epoch }: WorkerIncarnation): void {
    const worker = this.workers.get(workerId);
    if (worker?.beat.epoch === epoch) worker.suspect = true;
  }

  picked(workerId: string, pick: PendingPick): void {
    const pending = this.workers.get(workerId)?.pending;
    if (pending === undefined) return;
    pending.push(pick);
    if (pending.length > MAX_PENDING) pending.shift();
  }

  released(workerId: string, ticket: number): void {
    const worker = this.workers.get(workerId);
    if (worker !== undefined) worker.pending = worker.pending.filter((pick) => pick.ticket !== ticket);
  }

  /** Insertion order is heartbeat order: the longest silent come first. */
  private forget(now: number): void {
    for (const [id, worker] of this.workers) {
      if (this.workers.size <= MAX_WORKERS && now - worker.seenAt <= FORGET_AFTER_MS) break;
      this.workers.delete(id);
    }
  }
}
