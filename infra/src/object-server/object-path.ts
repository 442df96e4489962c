import { join } from 'node:path';
import { S3Error } from './s3-error.ts';

/**
 * Where a key lies under its bucket's folder: one folder per "/" and one file `<last>.object`. Every character outside
 * [A-Za-z0-9_-] is percent-encoded, the dot too: so no key can leave the folder, and a folder never has a file's name.
 */
const SUFFIX = '.object';
const MAX_NAME_BYTES = 255 - SUFFIX.length;

const encodeSegment = (segment: string): string => {
  let encoded = '';
  for (const byte of Buffer.from(segment, 'utf8')) {
    const character = String.fromCharCode(byte);
    encoded += /[A-Za-z0-9_-]/.test(character) ? character : `%${byte.toString(16).padStart(2, '0')}`;
  }
  // An empty segment ("a//b") still needs a name.
  return encoded === '' ? '%' : encoded;
};

const decodeSegment = (segment: string): string => (segment === '%' ? '' : decodeURIComponent(segment));

export function objectPath(bucketFolder: string, key: string): string {
  const segments = key.split('/').map(encodeSegment);
  if (Buffer.byteLength(key) > 1024 || segments.some((segment) => segment.length > MAX_NAME_BYTES)) {
    throw new S3Error(400, 'KeyTooLongError', 'Your key is too long');
  }
  return `${join(bucketFolder, ...segments)}${SUFFIX}`;
}

/** The key of a path relative to the bucket's folder, or undefined for a file that is no object. */
export function keyOfPath(relative: string): string | undefined {
  if (!relative.endsWith(SUFFIX)) return undefined;
  return relative.slice(0, -SUFFIX.length).split('/').map(decodeSegment).join('/');
}

/** The deepest folder that holds every key with this prefix, relative to the bucket's folder. */
export function folderOfPrefix(prefix: string): string {
  const folders = prefix.split('/').slice(0, -1);
  return folders.map(encodeSegment).join('/');
}
