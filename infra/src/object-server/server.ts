import type { FileHandle } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { BodyDigest, ChunkedBody } from './body.ts';
import { listObjects } from './listing.ts';
import type { ObjectFacts, ObjectFiles } from './object-files.ts';
import { parseRange } from './range.ts';
import { S3Error } from './s3-error.ts';
import { type Credentials, checkSignature } from './signature.ts';
import { type XmlElement, xmlDocument } from './xml.ts';

/**
 * The part of S3 that Longshore and its operators use, over a folder: path style, signed requests, objects in one PUT, ranged
 * GET, HEAD, DELETE, DeleteObjects, ListObjectsV2, conditional writes and checksums. No multipart, copies, versions or ACLs:
 * they are refused by name.
 */
export function createObjectServer(files: ObjectFiles, credentials: Credentials): Server {
  const server = createServer(async (request, response) => {
    try {
      await answer(files, credentials, request, response);
    } catch (error) {
      refuse(request, response, error);
    }
  });
  server.requestTimeout = 120_000;
  server.keepAliveTimeout = 60_000;
  return server;
}

/** One read: large enough that a local disk streams, small enough that many readers stay cheap. */
const READ_BYTES = 1 << 20;
const UNSUPPORTED = [
  'uploads',
  'uploadId',
  'partNumber',
  'acl',
  'policy',
  'versioning',
  'tagging',
  'lifecycle',
  'cors',
];

async function answer(
  files: ObjectFiles,
  credentials: Credentials,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const [path, search] = (request.url ?? '/').split('?', 2) as [string, string | undefined];
  const query = new URLSearchParams(search);
  checkSignature(request, { path, query }, credentials);
  const [, bucket = '', ...rest] = path.split('/').map(decodeURIComponent);
  const key = rest.join('/');
  const unsupported = UNSUPPORTED.find((name) => query.has(name));
  if (unsupported || 'x-amz-copy-source' in request.headers) {
    throw new S3Error(
      501,
      'NotImplemented',
      `This local server does not offer ${unsupported ?? 'copies'}: use a real S3`,
    );
  }
  const operation = `${request.method} ${bucket === '' ? 'service' : key === '' ? 'bucket' : 'object'}`;
  switch (operation) {
    case 'GET service': {
      const buckets = (await files.buckets()).map((Name) => ({ Name }));
      return sendXml(response, { ListAllMyBucketsResult: { Buckets: { Bucket: buckets } } });
    }
    case 'PUT bucket':
      await files.createBucket(bucket);
      return void response.writeHead(200).end();
    case 'HEAD bucket':
      files.bucketFolder(bucket);
      return void response.writeHead(200).end();
    case 'GET bucket':
      return sendXml(response, await listObjects(files, bucket, query));
    case 'POST bucket':
      return await deleteMany(files, bucket, request, response);
    case 'PUT object':
      return await putObject(files, bucket, key, request, response);
    case 'GET object':
    case 'HEAD object':
      return await getObject(files, bucket, key, request, response);
    case 'DELETE object':
      await files.remove(bucket, key);
      return void response.writeHead(204).end();
    default:
      throw new S3Error(405, 'MethodNotAllowed', 'The specified method is not allowed against this resource.');
  }
}

async function putObject(
  files: ObjectFiles,
  bucket: string,
  key: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const ifMatch = request.headers['if-match'];
  if (ifMatch !== undefined && (await files.facts(bucket, key))?.etag !== ifMatch) {
    throw new S3Error(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold');
  }
  const streaming = String(request.headers['x-amz-content-sha256']).startsWith('STREAMING-');
  const chunked = streaming ? new ChunkedBody() : undefined;
  const digest = new BodyDigest(request);
  const source: Readable = chunked === undefined ? request : request.pipe(chunked);
  const failed = (error: Error) => digest.destroy(error);
  request.on('error', failed).on('aborted', () => failed(new S3Error(400, 'IncompleteBody', 'The client went away')));
  chunked?.on('error', failed);
  const { etag } = await files.put(bucket, key, source.pipe(digest), request.headers['if-none-match'] === '*', () => {
    const sent = { ...(request.headers as Record<string, string | undefined>), ...chunked?.trailers };
    const kept = Object.entries(sent).filter(([name]) => /^x-amz-(meta-|checksum-)/.test(name));
    return {
      etag: digest.verify(sent),
      contentType: sent['content-type'] ?? 'application/octet-stream',
      headers: Object.fromEntries(kept) as Record<string, string>,
    };
  });
  response.writeHead(200, { etag }).end();
}

async function getObject(
  files: ObjectFiles,
  bucket: string,
  key: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const object = await files.openObject(bucket, key);
  if (object === undefined) throw new S3Error(404, 'NoSuchKey', 'The specified key does not exist.');
  try {
    await sendObject(object, request, response);
  } finally {
    await object.file.close();
  }
}

async function sendObject(
  { facts, file }: { facts: ObjectFacts; file: FileHandle },
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = request.headers;
  if (ifMatch !== undefined && ifMatch !== facts.etag) {
    throw new S3Error(412, 'PreconditionFailed', 'At least one of the pre-conditions you specified did not hold');
  }
  if (ifNoneMatch === facts.etag) return void response.writeHead(304, { etag: facts.etag }).end();
  const range = parseRange(request.headers.range, facts.size);
  const { start, end } = range ?? { start: 0, end: facts.size - 1 };
  const { 'x-amz-checksum-type': _type, ...kept } = facts.headers;
  const checksums = request.headers['x-amz-checksum-mode'] === 'ENABLED' && range === undefined;
  response.writeHead(range === undefined ? 200 : 206, {
    ...Object.fromEntries(Object.entries(kept).filter(([name]) => checksums || name.startsWith('x-amz-meta-'))),
    'accept-ranges': 'bytes',
    'content-type': facts.contentType,
    'content-length': end - start + 1,
    etag: facts.etag,
    'last-modified': new Date(facts.modified).toUTCString(),
    ...(range === undefined ? {} : { 'content-range': `bytes ${start}-${end}/${facts.size}` }),
  });
  if (request.method === 'HEAD' || end < start) return void response.end();
  await pipeline(file.createReadStream({ start, end, highWaterMark: READ_BYTES, autoClose: false }), response);
}

/** DeleteObjects: at most 1,000 keys a request, as in S3. */
async function deleteMany(
  files: ObjectFiles,
  bucket: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk;
    if (text.length > 2 << 20) throw new S3Error(400, 'MalformedXML', 'The request is too large');
  }
  const keys = [...text.matchAll(/<Key>([^<]*)<\/Key>/g)].map((match) => unescapeXml(match[1]!));
  if (keys.length === 0 || keys.length > 1000) throw new S3Error(400, 'MalformedXML', 'Name 1 to 1,000 keys');
  for (const key of keys) await files.remove(bucket, key);
  sendXml(response, { DeleteResult: { Deleted: keys.map((Key) => ({ Key })) } });
}

const NAMED: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
const unescapeXml = (text: string): string =>
  text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, name) => {
    if (name !== undefined) return NAMED[name] ?? whole;
    return String.fromCodePoint(hex === undefined ? Number(decimal) : Number.parseInt(hex, 16));
  });

function sendXml(response: ServerResponse, document: XmlElement): void {
  response.writeHead(200, { 'content-type': 'application/xml' }).end(xmlDocument(document));
}

function refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  const known = error instanceof S3Error;
  if (!known && (error as NodeJS.ErrnoException).code !== 'ERR_STREAM_PREMATURE_CLOSE') console.error(error);
  if (response.headersSent) return void response.destroy();
  const status = known ? error.status : 500;
  // What was not read of the body would be taken for the next request.
  response.writeHead(status, {
    'content-type': 'application/xml',
    ...(request.complete ? {} : { connection: 'close' }),
  });
  const code = known ? error.code : 'InternalError';
  const message = known ? error.message : 'We encountered an internal error. Please try again.';
  response.end(request.method === 'HEAD' ? undefined : xmlDocument({ Error: { Code: code, Message: message } }));
}
