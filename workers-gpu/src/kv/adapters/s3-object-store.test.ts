import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { freePort } from '@longshore/db/testing';
import { startLocalS3, startRcloneS3 } from '@longshore/infra/testing';
import { objectStoreContract } from '../testing/object-store-contract.ts';
import { createS3ObjectStore, type S3Options } from './s3-object-store.ts';

for (const [name, start] of [
  ['S3 (SeaweedFS)', startLocalS3],
  ['S3 (rclone)', startRcloneS3],
] as const)
  objectStoreContract(name, async () => {
    const server = await start();
    const store = createS3ObjectStore(server.options);
    return {
      store,
      stop: async () => {
        await store.close();
        await server.stop();
      },
    };
  });

const optionsFor = (port: number, timeoutMs = 400): S3Options => ({
  endpoint: `http://127.0.0.1:${port}`,
  region: 'us-east-1',
  bucket: 'b',
  accessKeyId: 'a',
  secretAccessKey: 's',
  forcePathStyle: true,
  timeoutMs,
});

async function withServer(listener: RequestListener, body: (port: number) => Promise<void>) {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    await body((server.address() as AddressInfo).port);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test('a dead server is unavailable, quickly, for every call', async () => {
  const store = createS3ObjectStore(optionsFor(await freePort(), 2000));
  const started = performance.now();
  for (const call of [
    () => store.put('k', new Uint8Array(10), 0),
    () => store.head('k'),
    () => store.readInto('k', new Uint8Array(10)),
    () => store.list('k', undefined, 1),
    () => store.delete('k'),
  ])
    await assert.rejects(call(), { name: 'StoreError', kind: /unavailable|timeout/ });
  assert.ok(performance.now() - started < 10_000);
});

test('a server that never answers is a timeout', async () => {
  await withServer(
    () => {},
    async (port) => {
      const store = createS3ObjectStore(optionsFor(port));
      const started = performance.now();
      await assert.rejects(store.head('k'), { name: 'StoreError', kind: 'timeout' });
      await assert.rejects(store.readInto('k', new Uint8Array(10)), { name: 'StoreError', kind: 'timeout' });
      assert.ok(performance.now() - started < 3000);
    },
  );
});

test('a body that stalls is a timeout', async () => {
  await withServer(
    (_, response) => {
      response.writeHead(206, { 'content-length': '10' });
      response.write('12345');
    },
    async (port) => {
      const store = createS3ObjectStore(optionsFor(port));
      await assert.rejects(store.readInto('k', new Uint8Array(10)), { name: 'StoreError', kind: 'timeout' });
    },
  );
});

test('a body that breaks is resumed where it broke, a bounded number of times', async () => {
  const body = Buffer.from('0123456789abcdefghij');
  const ranges: string[] = [];
  const breakAfter = (pieces: number, bytes: number) =>
    ((request, response) => {
      const range = request.headers.range!;
      ranges.push(range);
      const start = Number(/bytes=(\d+)-/.exec(range)![1]);
      response.writeHead(206, { 'content-length': String(body.length - start) });
      const end = ranges.length <= pieces ? start + bytes : body.length;
      response.write(body.subarray(start, end), () => (end < body.length ? response.destroy() : response.end()));
    }) satisfies RequestListener;
  await withServer(breakAfter(2, 7), async (port) => {
    const target = new Uint8Array(body.length);
    await createS3ObjectStore(optionsFor(port, 5000)).readInto('k', target);
    assert.equal(Buffer.from(target).toString(), body.toString());
    assert.deepEqual(ranges, ['bytes=0-19', 'bytes=7-19', 'bytes=14-19']);
  });
  ranges.length = 0;
  await withServer(breakAfter(100, 5), async (port) => {
    const store = createS3ObjectStore(optionsFor(port, 5000));
    await assert.rejects(store.readInto('k', new Uint8Array(body.length)), { name: 'StoreError', kind: 'unavailable' });
    assert.equal(ranges.length, 3);
  });
});

test('a missing bucket is unavailable, not a missing object', async () => {
  const error = (code: string) => `<?xml version="1.0"?><Error><Code>${code}</Code><Message>m</Message></Error>`;
  await withServer(
    (_, response) => {
      response.writeHead(404, { 'content-type': 'application/xml' });
      response.end(error('NoSuchBucket'));
    },
    async (port) => {
      const store = createS3ObjectStore(optionsFor(port, 5000));
      await assert.rejects(store.readInto('k', new Uint8Array(1)), { name: 'StoreError', kind: 'unavailable' });
    },
  );
});
