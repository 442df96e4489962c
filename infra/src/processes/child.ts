import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import type { LogFile } from './log-file.ts';
import type { OrphanGuard } from './orphan-guard.ts';
import { groupIsAlive, signalGroup } from './process-group.ts';

export interface ChildSpec {
  /** In messages and log names. */
  name: string;
  command: string;
  args: string[];
  env: Record<string, string | undefined>;
  cwd?: string;
  log: LogFile;
  /** Asks for an orderly end. */
  stopSignal?: NodeJS.Signals;
  /** Milliseconds until SIGKILL after that. */
  graceMs?: number;
  /** User and group to run as, when we are root. */
  uid?: number;
  gid?: number;
}

export interface Exit {
  status: number | null;
  signal: NodeJS.Signals | null;
}

/** One running process, leader of its own group: a stop reaches everything that it started. */
export class Child {
  readonly spec: ChildSpec;
  readonly group: number;
  readonly exited: Promise<Exit>;
  readonly startedAt = Date.now();
  private readonly guard: OrphanGuard;
  private readonly logStart: number;
  private running = true;

  /** Throws when the command cannot be started. */
  constructor(spec: ChildSpec, guard: OrphanGuard) {
    this.spec = spec;
    this.guard = guard;
    this.logStart = spec.log.size();
    const output = spec.log.open();
    try {
      const child = spawn(spec.command, spec.args, {
        cwd: spec.cwd,
        env: spec.env,
        stdio: ['ignore', output, output],
        detached: true,
        ...(spec.uid === undefined ? {} : { uid: spec.uid, gid: spec.gid }),
      });
      this.exited = new Promise((resolve, reject) => {
        child.on('error', reject);
        child.on('exit', (status, signal) => {
          this.running = false;
          // Its own children may still run: the group stays registered until stop() has seen it empty.
          if (!groupIsAlive(this.group)) this.guard.drop(this.group);
          resolve({ status, signal });
        });
      });
      this.exited.catch(() => {
        this.running = false;
      });
      this.group = child.pid ?? 0;
    } finally {
      closeSync(output);
    }
    if (this.group > 0) guard.add(this.group, spec.stopSignal ?? 'SIGTERM');
  }

  get alive(): boolean {
    return this.running;
  }

  /** What it wrote last, since it was started. */
  lastLines(count = 15): string[] {
    return this.spec.log.tail(count, this.logStart);
  }

  kill(signal: NodeJS.Signals): void {
    if (this.group > 0) signalGroup(this.group, signal);
  }

  /** Orderly end of the whole group, by force after the grace period. Idempotent. */
  async stop(): Promise<void> {
    if (this.group === 0) return;
    const deadline = Date.now() + (this.spec.graceMs ?? 8000);
    if (groupIsAlive(this.group)) signalGroup(this.group, this.spec.stopSignal ?? 'SIGTERM');
    while (groupIsAlive(this.group)) {
      if (Date.now() > deadline) signalGroup(this.group, 'SIGKILL');
      await new Promise((done) => setTimeout(done, 20));
    }
    this.guard.drop(this.group);
  }
}
