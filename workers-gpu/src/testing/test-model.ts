import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));

/** The default model where it was pulled: LONGSHORE_TEST_MODEL, or a SmolLM2 in LONGSHORE_HOME; undefined otherwise. */
export async function pulledModel(): Promise<string | undefined> {
  const given = process.env.LONGSHORE_TEST_MODEL;
  if (given) return given;
  const models = join(process.env.LONGSHORE_HOME || join(ROOT, '.longshore'), 'models');
  for (const name of await readdir(models, { recursive: true }).catch(() => [])) {
    if (/smollm2.*\.gguf$/i.test(name)) return join(models, name);
  }
  return undefined;
}

/** A real model for every test: the pulled one, else the tiny one that the repository carries. */
export async function testModel(): Promise<string> {
  const pulled = await pulledModel();
  if (pulled !== undefined) return pulled;
  const fixture = join(ROOT, 'infra', 'fixture-model');
  if (!existsSync(fixture)) throw new Error('no test model: set LONGSHORE_TEST_MODEL');
  return fixture;
}

/** A file of the repository. */
export function repositoryFile(...parts: string[]): string {
  return join(ROOT, ...parts);
}
