import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../config.ts';
import { Failure } from '../failure.ts';

/** The engine without Node, built beside the addon. */
export const ENGINE_PROGRAM = join(ROOT, 'native', 'build', 'longshore-native');

/** Opens the model with the engine and returns one line about it. Throws a Failure with the engine's reason. */
export async function checkOpens(path: string): Promise<string> {
  if (!existsSync(ENGINE_PROGRAM)) throw new Failure('the engine is not built: run "npm run build"');
  try {
    const { stdout } = await promisify(execFile)(ENGINE_PROGRAM, ['info', '--model', path], { timeout: 120_000 });
    const { family, layers, context_length: context, weights_format: format } = JSON.parse(stdout);
    return `opens: ${family}, ${layers} layers, ${format}, context of ${context} tokens`;
  } catch (cause) {
    const { stderr = '', message } = cause as { stderr?: string; message: string };
    throw new Failure(`the engine cannot open ${path}: ${stderr.trim() || message}`, { cause });
  }
}
