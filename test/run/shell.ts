import { spawn } from 'node:child_process';

export interface Outcome {
  status: number;
  /** stdout and stderr together, the last 4 MiB. */
  output: string;
}

const KEPT_CHARACTERS = 4 << 20;

/** Runs a command to its end; the caller decides what of its output is worth showing. */
export function run(
  command: string,
  args: string[],
  options: { env?: NodeJS.ProcessEnv; timeoutMs: number },
): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let output = '';
    const keep = (chunk: string) => {
      output = (output + chunk).slice(-KEPT_CHARACTERS);
    };
    child.stdout.setEncoding('utf8').on('data', keep);
    child.stderr.setEncoding('utf8').on('data', keep);
    const kill = (signal: NodeJS.Signals) => {
      try {
        if (child.pid) process.kill(-child.pid, signal);
      } catch {
        // It ended meanwhile.
      }
    };
    const timer = setTimeout(() => {
      keep(`\nstopped after ${options.timeoutMs / 1000} s\n`);
      kill('SIGKILL');
    }, options.timeoutMs);
    active.add(kill);
    const finish = (status: number, text = '') => {
      clearTimeout(timer);
      active.delete(kill);
      resolve({ status, output: output + text });
    };
    child.on('error', (error) => finish(127, `${command}: ${error.message}\n`));
    child.on('close', (status) => finish(status ?? 1));
  });
}

const active = new Set<(signal: NodeJS.Signals) => void>();

/** Ends every command that runs, for the signal handlers: politely, so that build tools end their own children, then by force. */
export async function endAll(): Promise<void> {
  for (const kill of active) kill('SIGTERM');
  const deadline = Date.now() + 3000;
  while (active.size > 0 && Date.now() < deadline) await new Promise((done) => setTimeout(done, 50));
  for (const kill of active) kill('SIGKILL');
}
