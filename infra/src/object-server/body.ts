import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { Transform, type TransformCallback } from 'node:stream';
import { crc32 } from 'node:zlib';
import { S3Error } from './s3-error.ts';

/** Largest object: a hundred times what Longshore writes; S3's own limit for one PUT is 5 GiB. */
const MAX_OBJECT_BYTES = 2 * 1024 ** 3;
const MAX_CHUNK_HEADER_BYTES = 8192;

/** Digests a body while it passes, and says at its end whether it is the one that the sender announced. */
export class BodyDigest extends Transform {
  private readonly sha256 = createHash('sha256');
  private readonly wantsCrc: boolean;
  private crc = 0;
  private bytes = 0;

  constructor(request: IncomingMessage) {
    super({ highWaterMark: 4 << 20 });
    const announced = [request.headers['x-amz-trailer'], request.headers['x-amz-sdk-checksum-algorithm']].join();
    this.wantsCrc = 'x-amz-checksum-crc32' in request.headers || /crc32\b/i.test(announced);
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.bytes += chunk.length;
    if (this.bytes > MAX_OBJECT_BYTES) {
      done(new S3Error(400, 'EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size'));
      return;
    }
    this.sha256.update(chunk);
    if (this.wantsCrc) this.crc = crc32(chunk, this.crc);
    done(null, chunk);
  }

  /** Throws when a digest differs. Returns the ETag (opaque here, not an MD5). */
  verify(headers: Record<string, string | undefined>): string {
    const hex = this.sha256.digest('hex');
    const signed = headers['x-amz-content-sha256'] ?? '';
    if (/^[0-9a-f]{64}$/.test(signed) && signed !== hex) {
      throw new S3Error(400, 'XAmzContentSHA256Mismatch', 'The provided x-amz-content-sha256 does not match the body.');
    }
    const crc = Buffer.alloc(4);
    crc.writeUInt32BE(this.crc);
    const expected: Array<[string | undefined, string]> = [
      [headers['x-amz-checksum-sha256'], Buffer.from(hex, 'hex').toString('base64')],
      [this.wantsCrc ? headers['x-amz-checksum-crc32'] : undefined, crc.toString('base64')],
    ];
    for (const [announced, computed] of expected) {
      if (announced !== undefined && announced !== computed) {
        throw new S3Error(400, 'BadDigest', 'The checksum you specified did not match what we received.');
      }
    }
    return `"${hex.slice(0, 32)}"`;
  }
}

/** Takes the "aws-chunked" framing off a body; `trailers` holds its trailing headers once it has ended. */
export class ChunkedBody extends Transform {
  readonly trailers: Record<string, string> = {};
  private pending: Buffer = Buffer.alloc(0);
  private left = 0;
  private state: 'size' | 'data' | 'data_end' | 'trailer' = 'size';

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.pending = this.pending.length === 0 ? chunk : Buffer.concat([this.pending, chunk]);
    while (this.pending.length > 0) {
      if (this.state === 'data') {
        const part = this.pending.subarray(0, this.left);
        this.push(part);
        this.left -= part.length;
        this.pending = this.pending.subarray(part.length);
        if (this.left === 0) this.state = 'data_end';
        continue;
      }
      const end = this.pending.indexOf('\r\n');
      if (end < 0) break;
      const line = this.pending.subarray(0, end).toString('latin1');
      this.pending = this.pending.subarray(end + 2);
      this.takeLine(line);
    }
    const malformed =
      Number.isNaN(this.left) || (this.state !== 'data' && this.pending.length > MAX_CHUNK_HEADER_BYTES);
    done(malformed ? new S3Error(400, 'InvalidRequest', 'The aws-chunked body is malformed') : null);
  }

  private takeLine(line: string): void {
    if (this.state === 'data_end') this.state = 'size';
    else if (this.state === 'size') {
      this.left = /^[0-9a-f]{1,8}(;.*)?$/i.test(line) ? Number.parseInt(line, 16) : Number.NaN;
      this.state = this.left === 0 ? 'trailer' : 'data';
    } else {
      const colon = line.indexOf(':');
      if (colon > 0) this.trailers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
  }

  override _flush(done: TransformCallback): void {
    done(this.state === 'trailer' ? null : new S3Error(400, 'IncompleteBody', 'The body ended too early'));
  }
}
