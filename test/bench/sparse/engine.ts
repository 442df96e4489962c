import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const ENGINE = join(ROOT, 'native', 'build', 'longshore-native');

/** The needle model's folder: LONGSHORE_EVAL_NEEDLE, or beside the repository. */
export function needleModel(): string | undefined {
  const folder = process.env.LONGSHORE_EVAL_NEEDLE || join(ROOT, '..', 'shared', 'models', 'needle');
  return existsSync(join(folder, 'config.json')) ? folder : undefined;
}

/** What a command of the native engine prints. Rejects when it fails. */
export function runEngine(command: string, args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(ENGINE, [command, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
    child.on('error', reject);
    child.on('close', (status) =>
      status === 0 ? resolve(output) : reject(new Error(`${ENGINE} ${command} ended with ${status}`)),
    );
  });
}
