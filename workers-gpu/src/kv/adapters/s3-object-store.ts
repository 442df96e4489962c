import type { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { HedgeClock } from '../domain/hedge-clock.ts';
import { type ObjectInfo, type ObjectStore, type ReadOptions, StoreError } from '../ports.ts';
import { Slots } from '../slots.ts';
import { readInParts } from './ranged-read.ts';

export interface S3Options {
  /** Absent: AWS's own for the region. */
  endpoint?: string;
  region: string;
  bucket: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** True for most stores that are not AWS. */
  forcePathStyle: boolean;
  /** Of one call without its body; a body may take a second per 2 MiB longer. Default 5,000. */
  timeoutMs?: number;
  /** Default 1,500. */
  connectTimeoutMs?: number;
}

/** Attempts of one call, the first included; a broken body is resumed where it broke, as often. */
const ATTEMPTS = 3;
const SLOWEST_BYTES_PER_SECOND = 2 * 1024 * 1024;
const MAX_SOCKETS = 16;
/** Objects are read in parts of this size over several connections; so few that puts and heads still find a socket. */
const PART_BYTES = 4 * 1024 * 1024;
const READ_CONNECTIONS = 8;
const MAX_WAITING_PARTS = 4096;

/**
 * S3 and what speaks its protocol. Checksums: the CRC-32 of a put is sent for stores that verify it, and none is demanded, because
 * many stores know none; correctness never leans on them, since readers verify every section. Bodies are not hashed for the signature:
 * objects are sealed, and SHA-256 would cost more than the seal.
 */
export function createS3ObjectStore(options: S3Options): ObjectStore {
  const { bucket: Bucket, timeoutMs = 5000 } = options;
  const client = new S3Client({
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    region: options.region,
    credentials: { accessKeyId: options.accessKeyId, secretAccessKey: options.secretAccessKey },
    forcePathStyle: options.forcePathStyle,
    maxAttempts: ATTEMPTS,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: options.connectTimeoutMs ?? 1500,
      requestTimeout: timeoutMs,
      throwOnRequestTimeout: true,
      httpAgent: { keepAlive: true, maxSockets: MAX_SOCKETS },
      httpsAgent: { keepAlive: true, maxSockets: MAX_SOCKETS },
    },
  });

  client.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as { headers?: Record<string, string> };
      if (request.headers) request.headers['x-amz-content-sha256'] ??= 'UNSIGNED-PAYLOAD';
      return next(args);
    },
    { step: 'build', name: 'unsignedPayload' },
  );

  /** Runs one call within its time and turns whatever it rejects with into a StoreError. */
  async function within<T>(
    bytes: number,
    signal: AbortSignal | undefined,
    call: (s: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const deadline = AbortSignal.timeout(timeoutMs + Math.ceil((1000 * bytes) / SLOWEST_BYTES_PER_SECOND));
    try {
      return await call(signal ? AbortSignal.any([signal, deadline]) : deadline);
    } catch (cause) {
      if (cause instanceof ReaderStopped) throw cause.cause;
      if (signal?.aborted) throw new StoreError('cancelled', 'reading was cancelled', cause);
      if (deadline.aborted) throw new StoreError('timeout', 'the object store did not answer in time', cause);
      throw storeErrorOf(cause);
    }
  }

  const connections = new Slots(READ_CONNECTIONS, MAX_WAITING_PARTS);
  const clock = new HedgeClock();

  /** Reads one range; a connection that breaks inside the body is resumed where it broke. */
  async function readResumed(
    key: string,
    offset: number,
    part: Uint8Array,
    abortSignal: AbortSignal,
    took: (bytes: number) => void,
  ): Promise<void> {
    let filled = 0;
    for (let attempt = 1; ; attempt++) {
      try {
        const Range = `bytes=${offset + filled}-${offset + part.length - 1}`;
        const command = new GetObjectCommand({ Bucket, Key: key, Range });
        const { Body, ContentLength } = await client.send(command, { abortSignal });
        if (ContentLength !== part.length - filled) throw new StoreError('truncated', `object ${key} is too short`);
        return await fill(Body as Readable, abortSignal, part.subarray(filled), (bytes) => {
          filled += bytes;
          took(bytes);
        });
      } catch (error) {
        if (!(error instanceof BrokenBody) || attempt === ATTEMPTS || abortSignal.aborted) throw error;
      }
    }
  }

  return {
    tier: 's3',
    async put(key, body, crc32) {
      const checksum = Buffer.alloc(4);
      checksum.writeUInt32BE(crc32);
      const command = new PutObjectCommand({
        Bucket,
        Key: key,
        Body: body,
        ContentLength: body.length,
        ContentType: 'application/octet-stream',
        ChecksumCRC32: checksum.toString('base64'),
      });
      await within(body.length, undefined, (abortSignal) => client.send(command, { abortSignal }));
    },
    async head(key) {
      const command = new HeadObjectCommand({ Bucket, Key: key });
      try {
        const found = await within(0, undefined, (abortSignal) => client.send(command, { abortSignal }));
        return { key, size: found.ContentLength ?? 0, modifiedAt: found.LastModified ?? new Date(0) };
      } catch (error) {
        if (error instanceof StoreError && error.kind === 'missing') return undefined;
        throw error;
      }
    },
    async readInto(key, target, { offset = 0, signal, onProgress }: ReadOptions = {}) {
      await within(target.length, signal, (abortSignal) =>
        readInParts({
          target,
          partBytes: PART_BYTES,
          read: (at, part, partSignal, took) => readResumed(key, offset + at, part, partSignal, took),
          connections,
          clock,
          signal: abortSignal,
          onProgress,
          now: () => performance.now(),
        }),
      );
    },
    async list(prefix, after, limit) {
      const command = new ListObjectsV2Command({ Bucket, Prefix: prefix, StartAfter: after, MaxKeys: limit });
      const page = await within(0, undefined, (abortSignal) => client.send(command, { abortSignal }));
      return (page.Contents ?? []).map(
        (object): ObjectInfo => ({
          key: object.Key!,
          size: object.Size ?? 0,
          modifiedAt: object.LastModified ?? new Date(0),
        }),
      );
    },
    async delete(key) {
      const command = new DeleteObjectCommand({ Bucket, Key: key });
      await within(0, undefined, (abortSignal) => client.send(command, { abortSignal }));
    },
    async close() {
      client.destroy();
    },
  };
}

/** The connection broke inside a body: what has arrived is good, the rest can be asked for. */
class BrokenBody extends Error {}

/** A reader's own callback threw: its error goes back to it unchanged. */
class ReaderStopped extends Error {}

/** Copies a body into `target` as it arrives. `took` hears the size of every piece; what it throws ends the read. */
function fill(body: Readable, signal: AbortSignal, target: Uint8Array, took: (bytes: number) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    let at = 0;
    const stop = (error: unknown) => {
      signal.removeEventListener('abort', onAbort);
      body.destroy();
      reject(error);
    };
    const onAbort = () => stop(signal.reason);
    if (signal.aborted) return stop(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    body.on('data', (chunk: Buffer) => {
      if (chunk.length > target.length - at)
        return stop(new StoreError('unavailable', 'the object store sent too much'));
      target.set(chunk, at);
      at += chunk.length;
      try {
        took(chunk.length);
      } catch (cause) {
        stop(new ReaderStopped('stopped by its reader', { cause }));
      }
    });
    body.on('error', (cause) => stop(new BrokenBody('the connection broke', { cause })));
    body.on('close', () => {
      if (at < target.length) stop(new BrokenBody('the connection closed early'));
    });
    body.on('end', () => {
      if (at < target.length) return;
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
  });
}

function storeErrorOf(cause: unknown): StoreError {
  if (cause instanceof StoreError) return cause;
  const error = cause as Error & { code?: string; $metadata?: { httpStatusCode?: number } };
  const status = error.$metadata?.httpStatusCode;
  if (error.name === 'NoSuchKey' || (status === 404 && error.name !== 'NoSuchBucket'))
    return new StoreError('missing', 'no such object', cause);
  if (error.name === 'InvalidRange' || status === 416)
    return new StoreError('truncated', 'the object is too short', cause);
  // The client also calls a broken connection a TimeoutError.
  const isBroken = error.code === 'ECONNRESET' || error.code === 'EPIPE';
  if (error.name === 'TimeoutError' && !isBroken)
    return new StoreError('timeout', 'the object store did not answer in time', cause);
  return new StoreError('unavailable', `object store: ${error.name}: ${error.message}`, cause);
}
