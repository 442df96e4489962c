import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

/**
 * One object as a file of the disk tier: 48 bytes, the key in UTF-8, the sealed object. Little-endian.
 *   0 magic "LSDT" · 4 format · 8 key bytes · 12 CRC-32 of the body · 16 body bytes (u64) · 24 cost in milliseconds (f64)
 *   · 32 CRC-32 of the key · 36 zeros · 44 CRC-32 of bytes 0-43
 */
const MAGIC = 0x5444534c;
const FORMAT = 1;
const FIXED_BYTES = 48;
const MAX_KEY_BYTES = 1024;
/** What a scan reads of each file: the whole header of any. */
export const MAX_HEADER_BYTES = FIXED_BYTES + MAX_KEY_BYTES;

export interface DiskTierHeader {
  key: string;
  headerBytes: number;
  bodyBytes: number;
  bodyCrc32: number;
  costMs: number;
}

/** Name of an object's file: keys have slashes and any length. */
export function fileNameOf(key: string): string {
  return `${createHash('sha256').update(key).digest('hex').slice(0, 40)}.kv`;
}

export function encodeDiskTierHeader(key: string, body: Uint8Array, costMs: number): Buffer {
  const name = Buffer.from(key, 'utf8');
  if (name.length > MAX_KEY_BYTES) throw new RangeError(`a key has at most ${MAX_KEY_BYTES} bytes`);
  const header = Buffer.alloc(FIXED_BYTES + name.length);
  header.writeUInt32LE(MAGIC, 0);
  header.writeUInt32LE(FORMAT, 4);
  header.writeUInt32LE(name.length, 8);
  header.writeUInt32LE(crc32(body), 12);
  header.writeBigUInt64LE(BigInt(body.length), 16);
  header.writeDoubleLE(costMs, 24);
  header.writeUInt32LE(crc32(name), 32);
  header.writeUInt32LE(crc32(header.subarray(0, 44)), 44);
  header.set(name, FIXED_BYTES);
  return header;
}

/** Reads the header at a file's front; undefined when the file, of `fileBytes`, is torn, foreign, of another format or misnamed. */
export function decodeDiskTierHeader(front: Buffer, fileName: string, fileBytes: number): DiskTierHeader | undefined {
  if (front.length < FIXED_BYTES || front.readUInt32LE(0) !== MAGIC || front.readUInt32LE(4) !== FORMAT)
    return undefined;
  if (front.readUInt32LE(44) !== crc32(front.subarray(0, 44))) return undefined;
  const headerBytes = FIXED_BYTES + front.readUInt32LE(8);
  const bodyBytes = Number(front.readBigUInt64LE(16));
  if (headerBytes > front.length || headerBytes + bodyBytes !== fileBytes) return undefined;
  const name = front.subarray(FIXED_BYTES, headerBytes);
  const key = name.toString('utf8');
  if (crc32(name) !== front.readUInt32LE(32) || fileNameOf(key) !== fileName) return undefined;
  return { key, headerBytes, bodyBytes, bodyCrc32: front.readUInt32LE(12), costMs: front.readDoubleLE(24) };
}
