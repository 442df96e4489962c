import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { dirname } from 'node:path';

/** What a start needs beside the model: a new database, its log, and room for the first stored blocks. */
export const NEEDED_GIB = 2;

/** GiB that we may still write under `path`, which need not exist yet. */
export async function freeGib(path: string): Promise<number> {
  let folder = path;
  while (!existsSync(folder)) folder = dirname(folder);
  const { bavail, bsize } = await statfs(folder);
  return (bavail * bsize) / 2 ** 30;
}
