import { closeSync, existsSync, openSync, readSync, renameSync, statSync } from 'node:fs';

const ROTATE_BYTES = 16 << 20;
const TAIL_BYTES = 16 << 10;

/** A child's output goes straight to a file, so that it survives us. One older generation is kept. */
export class LogFile {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** A descriptor to append to; the caller closes it. */
  open(): number {
    if (this.size() > ROTATE_BYTES) renameSync(this.path, `${this.path}.1`);
    return openSync(this.path, 'a', 0o600);
  }

  size(): number {
    return existsSync(this.path) ? statSync(this.path).size : 0;
  }

  /** The last lines written after `from` (bytes). */
  tail(lines: number, from = 0): string[] {
    const size = this.size();
    const start = Math.max(size < from ? 0 : from, size - TAIL_BYTES);
    const text = Buffer.alloc(size - start);
    if (text.length === 0) return [];
    const file = openSync(this.path, 'r');
    readSync(file, text, 0, text.length, start);
    closeSync(file);
    return text.toString('utf8').trimEnd().split('\n').slice(-lines);
  }
}
