import { randomBytes } from 'node:crypto';
import { createWriteStream, existsSync } from 'node:fs';
import { type FileHandle, link, mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { folderOfPrefix, keyOfPath, objectPath } from './object-path.ts';
import { S3Error } from './s3-error.ts';

/** What is known of an object besides its bytes. */
export interface ObjectFacts {
  size: number;
  etag: string;
  contentType: string;
  /** Epoch milliseconds. */
  modified: number;
  /** x-amz-meta-* and x-amz-checksum-* as sent. */
  headers: Record<string, string>;
}

/** A file is the object's bytes, its facts as JSON, the JSON's length (u32 LE) and this word: one rename publishes all. */
const TRAILER_WORD = Buffer.from('LSS3');
const MAX_FACTS_BYTES = 16_384;

/** Buckets are folders, objects are files. Writes are atomic: readers see the old object or the new one, never a part. */
export class ObjectFiles {
  private readonly root: string;
  private readonly incoming: string;

  constructor(root: string) {
    this.root = root;
    this.incoming = join(root, '.incoming');
  }

  /** Also drops what an interrupted process left half written. */
  async open(): Promise<void> {
    await rm(this.incoming, { recursive: true, force: true });
    await mkdir(this.incoming, { recursive: true });
  }

  async createBucket(bucket: string): Promise<void> {
    if (!/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/.test(bucket)) {
      throw new S3Error(400, 'InvalidBucketName', 'The specified bucket is not valid.');
    }
    await mkdir(join(this.root, bucket), { recursive: true });
  }

  async buckets(): Promise<string[]> {
    const entries = await readdir(this.root, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.')).map((entry) => entry.name);
  }

  bucketFolder(bucket: string): string {
    const folder = join(this.root, bucket);
    if (!/^[a-z0-9-]+$/.test(bucket) || !existsSync(folder)) {
      throw new S3Error(404, 'NoSuchBucket', 'The specified bucket does not exist');
    }
    return folder;
  }

  /**
   * Writes `body` and calls `finish` at its end for the facts (it may throw: then nothing is published). With `exclusive` an
   * existing object makes it fail with PreconditionFailed, decided by the file system at the moment of publication.
   */
  async put(
    bucket: string,
    key: string,
    body: Readable,
    exclusive: boolean,
    finish: () => Omit<ObjectFacts, 'size' | 'modified'>,
  ): Promise<ObjectFacts> {
    const target = objectPath(this.bucketFolder(bucket), key);
    const temporary = join(this.incoming, randomBytes(12).toString('hex'));
    try {
      const file = createWriteStream(temporary, { highWaterMark: 4 << 20 });
      await pipeline(body, file);
      const facts: ObjectFacts = { ...finish(), size: file.bytesWritten, modified: Date.now() };
      await appendFacts(temporary, facts);
      await this.publish(temporary, target, exclusive);
      return facts;
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** A delete may remove an emptied folder between our mkdir and the rename: hence the second and third try. */
  private async publish(temporary: string, target: string, exclusive: boolean): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await mkdir(dirname(target), { recursive: true });
        if (exclusive) await link(temporary, target);
        else await rename(temporary, target);
        return;
      } catch (error) {
        const code = (error as NodeJS.ErrnoException).code;
        if (code === 'EEXIST') {
          throw new S3Error(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold');
        }
        if (code !== 'ENOENT' || attempt === 3) throw error;
      }
    }
  }

  async facts(bucket: string, key: string): Promise<ObjectFacts | undefined> {
    const object = await this.openObject(bucket, key);
    await object?.file.close();
    return object?.facts;
  }

  /** Facts and bytes come from one open file: a replacement meanwhile cannot mix them. The caller closes `file`. */
  async openObject(bucket: string, key: string): Promise<{ facts: ObjectFacts; file: FileHandle } | undefined> {
    const path = objectPath(this.bucketFolder(bucket), key);
    try {
      const file = await open(path, 'r');
      try {
        return { facts: await readFacts(file, path), file };
      } catch (error) {
        await file.close();
        throw error;
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** No error when there is no such object, as in S3. */
  async remove(bucket: string, key: string): Promise<void> {
    const folder = this.bucketFolder(bucket);
    const path = objectPath(folder, key);
    await rm(path, { force: true });
    for (let parent = dirname(path); parent !== folder; parent = dirname(parent)) {
      try {
        await rmdir(parent);
      } catch {
        return;
      }
    }
  }

  /** Every key with the prefix, in the order of their UTF-8 bytes. Reads the whole folder: meant for one machine's worth. */
  async keys(bucket: string, prefix: string): Promise<string[]> {
    const folder = this.bucketFolder(bucket);
    const start = join(folder, folderOfPrefix(prefix));
    if (!existsSync(start)) return [];
    const keys: string[] = [];
    for (const entry of await readdir(start, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const key = keyOfPath(relative(folder, join(entry.parentPath, entry.name)));
      if (key?.startsWith(prefix)) keys.push(key);
    }
    return keys
      .map((key) => ({ key, bytes: Buffer.from(key) }))
      .sort((a, b) => Buffer.compare(a.bytes, b.bytes))
      .map(({ key }) => key);
  }
}

async function appendFacts(path: string, facts: ObjectFacts): Promise<void> {
  const json = Buffer.from(JSON.stringify(facts));
  if (json.length > MAX_FACTS_BYTES) throw new S3Error(400, 'MetadataTooLarge', 'Your metadata headers are too large');
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  const file = await open(path, 'a');
  try {
    await file.write(Buffer.concat([json, length, TRAILER_WORD]));
  } finally {
    await file.close();
  }
}

async function readFacts(file: FileHandle, path: string): Promise<ObjectFacts> {
  const { size } = await file.stat();
  const tail = Buffer.alloc(Math.min(size, MAX_FACTS_BYTES + 8));
  await file.read(tail, 0, tail.length, size - tail.length);
  const length = tail.length < 8 ? -1 : tail.readUInt32LE(tail.length - 8);
  if (length < 0 || length > tail.length - 8 || !tail.subarray(-4).equals(TRAILER_WORD)) {
    throw new S3Error(500, 'InternalError', `${path} is no object of this server: delete it`);
  }
  return JSON.parse(tail.subarray(tail.length - 8 - length, tail.length - 8).toString('utf8'));
}
