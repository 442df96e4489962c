import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectAclCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  type S3ClientConfig,
} from '@aws-sdk/client-s3';
import { ObjectFiles } from './object-files.ts';
import { createObjectServer } from './server.ts';

const Bucket = 'longshore';
const credentials = { accessKeyId: 'LSTEST', secretAccessKey: 'a secret of the test' };

describe('the local S3, through the AWS SDK', () => {
  let folder: string;
  let server: ReturnType<typeof createObjectServer>;
  let endpoint: string;
  let client: S3Client;

  const connectClient = (config: S3ClientConfig = {}) =>
    new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials, maxAttempts: 1, ...config });
  const put = (Key: string, Body: Buffer | string, more = {}) =>
    client.send(new PutObjectCommand({ Bucket, Key, Body, ...more }));
  const read = async (Key: string, more = {}) => {
    const answer = await client.send(new GetObjectCommand({ Bucket, Key, ...more }));
    return Buffer.from(await answer.Body!.transformToByteArray());
  };
  const listen = async () => {
    const files = new ObjectFiles(folder);
    await files.open();
    await files.createBucket(Bucket);
    server = createObjectServer(files, credentials);
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    endpoint = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
    client = connectClient();
  };
  const close = async () => {
    client.destroy();
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  };

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'longshore-objects-'));
    await listen();
  });
  after(async () => {
    await close();
    await rm(folder, { recursive: true, force: true });
  });

  test('gives back the bytes, the size and the metadata that were written, also after a restart', async () => {
    const body = randomBytes(3_000_001);
    const { ETag } = await put('org/a b/ü.bin', body, { Metadata: { codec: 'int8' }, ContentType: 'x/y' });
    await close();
    await listen();
    assert.ok((await read('org/a b/ü.bin')).equals(body));
    const head = await client.send(new HeadObjectCommand({ Bucket, Key: 'org/a b/ü.bin' }));
    assert.equal(head.ContentLength, body.length);
    assert.equal(head.ETag, ETag);
    assert.equal(head.ContentType, 'x/y');
    assert.deepEqual(head.Metadata, { codec: 'int8' });
  });

  test('gives exactly the range that was asked for, and refuses one past the end', async () => {
    const body = randomBytes(10_000);
    await put('range', body);
    assert.ok((await read('range', { Range: 'bytes=100-299' })).equals(body.subarray(100, 300)));
    assert.ok((await read('range', { Range: 'bytes=9990-' })).equals(body.subarray(9990)));
    assert.ok((await read('range', { Range: 'bytes=-10' })).equals(body.subarray(9990)));
    assert.ok((await read('range', { Range: 'bytes=9990-999999' })).equals(body.subarray(9990)));
    await assert.rejects(read('range', { Range: 'bytes=10000-' }), { name: 'InvalidRange' });
  });

  test('an empty object is an object', async () => {
    await put('empty', '');
    assert.equal((await read('empty')).length, 0);
  });

  test('a conditional write never replaces: of many at once, exactly one wins', async () => {
    const attempts = Array.from({ length: 8 }, (_, index) => put('once', `writer ${index}`, { IfNoneMatch: '*' }));
    const results = await Promise.allSettled(attempts);
    const winners = results.filter(({ status }) => status === 'fulfilled');
    assert.equal(winners.length, 1);
    assert.equal(String(await read('once')), `writer ${results.indexOf(winners[0]!)}`);
    for (const result of results)
      if (result.status === 'rejected') assert.equal(result.reason.name, 'PreconditionFailed');
  });

  test('If-Match writes only over the object that it names', async () => {
    const { ETag } = await put('match', 'first');
    await put('match', 'second', { IfMatch: ETag });
    await assert.rejects(put('match', 'third', { IfMatch: ETag }), { name: 'PreconditionFailed' });
    assert.equal(String(await read('match')), 'second');
  });

  test('a missing object is NoSuchKey, and deleting it is no error', async () => {
    await put('gone', 'x');
    await client.send(new DeleteObjectCommand({ Bucket, Key: 'gone' }));
    await client.send(new DeleteObjectCommand({ Bucket, Key: 'gone' }));
    await assert.rejects(read('gone'), { name: 'NoSuchKey' });
    await assert.rejects(client.send(new HeadObjectCommand({ Bucket, Key: 'gone' })), { name: 'NotFound' });
    await assert.rejects(client.send(new GetObjectCommand({ Bucket: 'no-such-bucket', Key: 'x' })), {
      name: 'NoSuchBucket',
    });
  });

  test('lists every key once, in byte order, over pages', async () => {
    const keys = ['list/a-b', 'list/a/b', 'list/a', 'list/é', 'list/z/1', 'list/z/2', 'list/a.object/c'];
    for (const key of keys) await put(key, key);
    const seen: string[] = [];
    let token: string | undefined;
    do {
      const page = await client.send(
        new ListObjectsV2Command({ Bucket, Prefix: 'list/', MaxKeys: 2, ContinuationToken: token }),
      );
      assert.ok((page.Contents ?? []).length <= 2);
      seen.push(...(page.Contents ?? []).map(({ Key }) => Key!));
      token = page.NextContinuationToken;
    } while (token);
    assert.deepEqual(
      seen,
      keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
    );
    const grouped = await client.send(new ListObjectsV2Command({ Bucket, Prefix: 'list/z', Delimiter: '/' }));
    assert.deepEqual(grouped.CommonPrefixes, [{ Prefix: 'list/z/' }]);
  });

  test('deletes many keys in one request', async () => {
    for (const key of ['many/1', 'many/<2>&']) await put(key, key);
    const Objects = ['many/1', 'many/<2>&', 'many/none'].map((Key) => ({ Key }));
    const answer = await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    assert.equal(answer.Deleted!.length, 3);
    assert.equal((await client.send(new ListObjectsV2Command({ Bucket, Prefix: 'many/' }))).KeyCount, 0);
  });

  test('refuses a wrong secret, a wrong key id and an unsigned request', async () => {
    const wrong = connectClient({ credentials: { ...credentials, secretAccessKey: 'another' } });
    await assert.rejects(wrong.send(new ListObjectsV2Command({ Bucket })), { name: 'SignatureDoesNotMatch' });
    const unknown = connectClient({ credentials: { ...credentials, accessKeyId: 'LSOTHER' } });
    await assert.rejects(unknown.send(new ListObjectsV2Command({ Bucket })), { name: 'InvalidAccessKeyId' });
    assert.equal((await fetch(`${endpoint}/${Bucket}/once`)).status, 403);
  });

  test('refuses a body that does not have the announced checksum, and keeps nothing of it', async () => {
    await assert.rejects(put('bad', 'some bytes', { ChecksumCRC32: 'AAAAAA==' }), { name: 'BadDigest' });
    await assert.rejects(read('bad'), { name: 'NoSuchKey' });
  });

  test("takes streams in the SDK's chunked form with a trailing checksum", async () => {
    const body = randomBytes(700_000);
    const parts = Readable.from([body.subarray(0, 1), body.subarray(1, 300_000), body.subarray(300_000)]);
    await client.send(
      new PutObjectCommand({
        Bucket,
        Key: 'streamed',
        Body: parts,
        ContentLength: body.length,
        ChecksumAlgorithm: 'CRC32',
      }),
    );
    assert.ok((await read('streamed', { ChecksumMode: 'ENABLED' })).equals(body));
  });

  test('an upload that breaks off leaves neither an object nor a file', async () => {
    const url = new URL(endpoint);
    const signed = connectClient();
    let headers: Record<string, string> = {};
    signed.middlewareStack.add(
      () => async (args) => {
        headers = (args.request as { headers: Record<string, string> }).headers;
        throw new Error('captured');
      },
      { step: 'finalizeRequest', priority: 'low' },
    );
    await assert.rejects(
      signed.send(new PutObjectCommand({ Bucket, Key: 'broken', Body: randomBytes(100_000) })),
      /captured/,
    );
    const socket = connect(Number(url.port), '127.0.0.1');
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`PUT /${Bucket}/broken?x-id=PutObject HTTP/1.1\r\n${lines.join('')}\r\n`);
    socket.write(randomBytes(50_000));
    await new Promise((done) => setTimeout(done, 100));
    socket.destroy();
    await new Promise((done) => setTimeout(done, 200));
    await assert.rejects(read('broken'), { name: 'NoSuchKey' });
    assert.deepEqual(await readdir(join(folder, '.incoming')), []);
  });

  test('no key leads out of the bucket', async () => {
    for (const key of ['../escape', 'a/../../escape', '..', 'a//b', '.incoming/x']) {
      await put(key, key);
      assert.equal(String(await read(key)), key);
    }
    assert.deepEqual((await readdir(folder)).sort(), ['.incoming', Bucket]);
  });

  test('says which operation it does not offer', async () => {
    await put('acl', 'x');
    await assert.rejects(client.send(new GetObjectAclCommand({ Bucket, Key: 'acl' })), { name: 'NotImplemented' });
  });
});
