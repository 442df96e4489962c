import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import { z } from 'zod';
import { ROOT } from '../config.ts';
import type { Home } from '../home/home.ts';

const recordSchema = z.object({
  /** Relative to the model's folder, or absolute for a linked one; "." when the folder itself is the model. */
  path: z.string(),
  source: z.string(),
  /** File name -> what was verified when it was pulled. Empty for linked models. */
  files: z.record(z.string(), z.object({ bytes: z.number(), sha256: z.string() })),
});
export type ModelRecord = z.infer<typeof recordSchema>;

export interface InstalledModel {
  /** Folder name under models/, and the id it is served under. */
  name: string;
  /** What the engine opens: a .gguf file or a Hugging Face folder. */
  path: string;
  record: ModelRecord;
}

const RECORD = 'longshore-model.json';

export const FIXTURE: InstalledModel = {
  name: 'longshore-fixture',
  path: join(ROOT, 'infra', 'fixture-model'),
  record: { path: '.', source: 'bundled', files: {} },
};

export const modelFolder = (home: Home, name: string): string => join(home.models, name);

export async function writeRecord(home: Home, name: string, record: ModelRecord): Promise<InstalledModel> {
  await writeFile(join(modelFolder(home, name), RECORD), `${JSON.stringify(record, null, 2)}\n`);
  return { name, path: resolve(modelFolder(home, name), record.path), record };
}

/** Undefined when it was never pulled whole, or what it links to is gone. */
export async function findInstalled(home: Home, name: string): Promise<InstalledModel | undefined> {
  if (isAbsolute(name) || name.includes('/') || name.startsWith('.')) return undefined;
  try {
    const text = await readFile(join(modelFolder(home, name), RECORD), 'utf8');
    const record = recordSchema.parse(JSON.parse(text));
    const path = resolve(modelFolder(home, name), record.path);
    return existsSync(path) ? { name, path, record } : undefined;
  } catch {
    return undefined;
  }
}

export async function listInstalled(home: Home): Promise<InstalledModel[]> {
  const names = await readdir(home.models).catch(() => []);
  const found = await Promise.all(names.sort().map((name) => findInstalled(home, name)));
  return found.filter((model) => model !== undefined);
}
