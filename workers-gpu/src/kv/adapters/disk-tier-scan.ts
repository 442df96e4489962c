import { type FileHandle, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type DiskTierHeader, decodeDiskTierHeader, MAX_HEADER_BYTES } from './disk-tier-file.ts';

interface ScannedFile extends DiskTierHeader {
  fileBytes: number;
  /** Milliseconds since 1970: the last use. */
  usedAt: number;
}

export interface ScanResult {
  /** Longest unused first. */
  files: ScannedFile[];
  /** Torn, foreign or superfluous, deleted. */
  deleted: number;
}

const PARALLEL = 16;

/**
 * Reads the header of at most `maxFiles` files and deletes every file that is none of ours or not whole, and all beyond the bound. Bodies
 * are checked when they are read. Rejects with the file system's error when the folder cannot be listed.
 */
export async function scanDiskTier(folder: string, maxFiles: number): Promise<ScanResult> {
  const names = await readdir(folder);
  const files: ScannedFile[] = [];
  let deleted = 0;
  const waiting = names.entries();
  const worker = async () => {
    for (const [index, name] of waiting) {
      const file = index < maxFiles ? await scanFile(folder, name) : undefined;
      if (file) files.push(file);
      else {
        await rm(join(folder, name), { force: true, recursive: true }).catch(() => {});
        deleted++;
      }
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  files.sort((a, b) => a.usedAt - b.usedAt);
  return { files, deleted };
}

async function scanFile(folder: string, name: string): Promise<ScannedFile | undefined> {
  let file: FileHandle | undefined;
  try {
    file = await open(join(folder, name));
    const { size, mtimeMs } = await file.stat();
    const front = Buffer.alloc(Math.min(size, MAX_HEADER_BYTES));
    const { bytesRead } = await file.read(front, 0, front.length, 0);
    const header = decodeDiskTierHeader(front.subarray(0, bytesRead), name, size);
    return header && { ...header, fileBytes: size, usedAt: mtimeMs };
  } catch {
    return undefined;
  } finally {
    await file?.close();
  }
}
