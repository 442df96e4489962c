import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { S3Error } from './s3-error.ts';

export interface Credentials {
  accessKeyId: string;
  secretAccessKey: string;
}

/** As sent: a URL object would resolve the dots that a key may well contain. */
export interface Target {
  path: string;
  query: URLSearchParams;
}

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const encode = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** Refuses a request whose AWS Signature Version 4 (in the Authorization header) is not ours. */
export function checkSignature(request: IncomingMessage, target: Target, credentials: Credentials): void {
  const denied = (why: string) => new S3Error(403, 'SignatureDoesNotMatch', why);
  const parts =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
      request.headers.authorization ?? '',
    );
  if (!parts) throw new S3Error(403, 'AccessDenied', 'Sign the request with AWS Signature Version 4');
  const [, accessKeyId, day, region, signedHeaders, signature] = parts as unknown as [string, ...string[]];
  if (accessKeyId !== credentials.accessKeyId) {
    throw new S3Error(403, 'InvalidAccessKeyId', 'The access key id you provided does not exist in our records.');
  }
  const header = (name: string): string => {
    const value = request.headers[name];
    return (Array.isArray(value) ? value.join(',') : (value ?? '')).trim().replace(/ +/g, ' ');
  };
  const names = signedHeaders!.split(';');
  if (!names.includes('host')) throw denied('The Host header must be signed');
  const query = [...target.query].map(([name, value]) => `${encode(name)}=${encode(value)}`).sort();
  const canonical = [
    request.method,
    target.path
      .split('/')
      .map((segment) => encode(decodeURIComponent(segment)))
      .join('/'),
    query.join('&'),
    ...names.map((name) => `${name}:${header(name)}`),
    '',
    signedHeaders,
    header('x-amz-content-sha256'),
  ].join('\n');
  const scope = `${day}/${region}/s3/aws4_request`;
  const text = ['AWS4-HMAC-SHA256', header('x-amz-date'), scope, sha256(canonical)].join('\n');
  const key = ['s3', 'aws4_request'].reduce<Buffer>(
    hmac,
    hmac(hmac(`AWS4${credentials.secretAccessKey}`, day!), region!),
  );
  if (!timingSafeEqual(hmac(key, text), Buffer.from(signature!, 'hex'))) {
    throw denied('The request signature we calculated does not match the signature you provided.');
  }
}
