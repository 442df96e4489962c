import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Our end of reaper.ts: what is registered here does not survive this process, however it ends. */
export class OrphanGuard {
  private readonly reaper: ChildProcess;

  constructor() {
    this.reaper = spawn(process.execPath, [fileURLToPath(new URL('reaper.ts', import.meta.url))], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    this.reaper.unref();
    this.reaper.stdin!.on('error', () => {});
  }

  add(group: number, signal: NodeJS.Signals): void {
    this.reaper.stdin!.write(`add ${group} ${signal}\n`);
  }

  drop(group: number): void {
    this.reaper.stdin!.write(`drop ${group}\n`);
  }

  /** Whatever is still registered is ended by the reaper now. */
  close(): void {
    this.reaper.stdin!.end();
  }
}
