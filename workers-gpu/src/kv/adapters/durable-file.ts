import { randomUUID } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Last part of the name of a file that is being written; whoever finds one after a crash may delete it. */
export const TEMPORARY = '.partial';

/**
 * Writes `parts` to `path`, whole or not at all: aside, synced, renamed, and the folder synced, so that neither a killed process nor a
 * machine without power leaves half of it under its name. Rejects with the file system's error, the file aside deleted.
 */
export async function writeDurably(path: string, parts: readonly Uint8Array[]): Promise<void> {
  const aside = `${path}.${randomUUID()}${TEMPORARY}`;
  try {
    await writeSynced(aside, parts);
    await rename(aside, path);
  } catch (error) {
    await rm(aside, { force: true }).catch(() => {});
    throw error;
  }
  await syncFolder(dirname(path));
}

async function writeSynced(path: string, parts: readonly Uint8Array[]): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    for (const part of parts) await writeAll(file, part);
    await file.datasync();
  } finally {
    await file.close();
  }
}

async function writeAll(file: FileHandle, part: Uint8Array): Promise<void> {
  for (let written = 0; written < part.length; ) {
    const { bytesWritten } = await file.write(part, written, part.length - written);
    written += bytesWritten;
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
