/** What long steps report to. Times and sizes are for people; nothing parses them. */
export interface Progress {
  /** A thing that happened. */
  note(text: string): void;
  /** Call as often as you like; it prints at most every 2 seconds. */
  bytes(done: number, total: number): void;
  /** Runs a step and prints its name with the seconds it took. */
  step<T>(name: string, run: () => Promise<T>): Promise<T>;
}

const SILENT_MS = 5000;
const BYTES_EVERY_MS = 2000;

/** Lines on a stream; a step that takes longer than 5 seconds says so every 5 seconds. */
export function lineProgress(write: (line: string) => void): Progress {
  let lastBytes = 0;
  return {
    note: write,
    bytes(done, total) {
      if (Date.now() - lastBytes < BYTES_EVERY_MS) return;
      lastBytes = Date.now();
      const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(0);
      write(
        `  ${mib(done)} of ${mib(total)} MiB (${total > 0 ? Math.min(100, Math.round((100 * done) / total)) : 0} %)`,
      );
    },
    async step(name, run) {
      const started = performance.now();
      const seconds = () => ((performance.now() - started) / 1000).toFixed(1);
      const clock = setInterval(() => write(`  ${name} … ${seconds()} s so far`), SILENT_MS);
      try {
        const result = await run();
        write(`  ${name}: ${seconds()} s`);
        return result;
      } finally {
        clearInterval(clock);
      }
    },
  };
}

export const silentProgress: Progress = { note() {}, bytes() {}, step: (_name, run) => run() };
