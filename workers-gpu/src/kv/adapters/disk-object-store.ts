import { type FileHandle, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { type ObjectInfo, type ObjectStore, type ReadOptions, StoreError } from '../ports.ts';
import { TEMPORARY, writeDurably } from './durable-file.ts';

const READ_BYTES = 1024 * 1024;

/**
 * Objects as files below `folder`: a store for one machine without S3, unbounded (the bounded cache is disk-tier.ts). A put is written aside, synced and
 * renamed, so that a reader and a crash see it whole or not at all. Reads and writes end when the file system does.
 */
export function createDiskObjectStore(folder: string): ObjectStore {
  const root = resolve(folder);

  const pathOf = (key: string): string => {
    const path = resolve(root, key);
    if (!path.startsWith(root + sep) || key.endsWith(TEMPORARY)) throw new StoreError('unavailable', `bad key ${key}`);
    return path;
  };

  async function head(key: string): Promise<ObjectInfo | undefined> {
    try {
      const { size, mtime } = await stat(pathOf(key));
      return { key, size, modifiedAt: mtime };
    } catch (cause) {
      if (isMissing(cause)) return undefined;
      throw unavailable(cause);
    }
  }

  return {
    tier: 'disk',
    head,
    async put(key, body) {
      const path = pathOf(key);
      try {
        await mkdir(dirname(path), { recursive: true });
        await writeDurably(path, [body]);
      } catch (cause) {
        throw unavailable(cause);
      }
    },
    async readInto(key, target, options = {}) {
      let file: FileHandle | undefined;
      try {
        file = await open(pathOf(key));
        await readAll(file, key, target, options);
      } catch (cause) {
        if (isMissing(cause)) throw new StoreError('missing', `no object ${key}`, cause);
        if (isFileSystemError(cause)) throw unavailable(cause);
        throw cause;
      } finally {
        await file?.close();
      }
    },
    async list(prefix, after, limit) {
      const infos: ObjectInfo[] = [];
      for (const key of (await keysBelow(root)).sort()) {
        if (!key.startsWith(prefix) || (after !== undefined && key <= after)) continue;
        if (infos.length >= limit) break;
        const info = await head(key);
        if (info) infos.push(info);
      }
      return infos;
    },
    async delete(key) {
      try {
        await rm(pathOf(key), { force: true });
      } catch (cause) {
        throw unavailable(cause);
      }
    },
    async close() {},
  };
}

const codeOf = (error: unknown): string | undefined =>
  error instanceof Error && 'code' in error ? String(error.code) : undefined;
const isMissing = (error: unknown): boolean => codeOf(error) === 'ENOENT';
const isFileSystemError = (error: unknown): boolean => error instanceof Error && 'syscall' in error;

function unavailable(cause: unknown): StoreError {
  if (cause instanceof StoreError) return cause;
  return new StoreError('unavailable', `disk store: ${cause instanceof Error ? cause.message : String(cause)}`, cause);
}

async function readAll(file: FileHandle, key: string, target: Uint8Array, options: ReadOptions): Promise<void> {
  const { offset = 0, signal, onProgress } = options;
  for (let filled = 0; filled < target.length; ) {
    if (signal?.aborted) throw new StoreError('cancelled', 'reading was cancelled');
    const length = Math.min(READ_BYTES, target.length - filled);
    const { bytesRead } = await file.read(target, filled, length, offset + filled);
    if (bytesRead === 0) throw new StoreError('truncated', `object ${key} is too short`);
    filled += bytesRead;
    onProgress?.(filled);
  }
}

async function keysBelow(root: string): Promise<string[]> {
  try {
    const entries = await readdir(root, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile() && !entry.name.endsWith(TEMPORARY))
      .map((entry) =>
        join(entry.parentPath, entry.name)
          .slice(root.length + 1)
          .replaceAll(sep, '/'),
      );
  } catch (cause) {
    if (isMissing(cause)) return [];
    throw unavailable(cause);
  }
}
