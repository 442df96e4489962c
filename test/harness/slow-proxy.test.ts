import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { type SlowProxy, startSlowProxy } from './slow-proxy.ts';

const body = Buffer.alloc(400_000, 7);
const server = createServer((_, response) => response.end(body));
let proxy: SlowProxy;
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  proxy = await startSlowProxy((server.address() as AddressInfo).port, { bytesPerSecond: 0, latencyMs: 0 });
});
after(async () => {
  await proxy.close();
  server.closeAllConnections();
  server.close();
});

async function get(): Promise<{ bytes: Buffer; ms: number }> {
  const startedAt = performance.now();
  const response = await fetch(`http://127.0.0.1:${proxy.port}/`);
  const bytes = Buffer.from(await response.arrayBuffer());
  return { bytes, ms: performance.now() - startedAt };
}

test('passes bytes unchanged, and two readers together are no faster than the rate', async () => {
  Object.assign(proxy.link, { bytesPerSecond: 1_000_000, latencyMs: 0 });
  const before = proxy.bytes;
  const startedAt = performance.now();
  const answers = await Promise.all([get(), get()]);
  assert.ok(performance.now() - startedAt >= 750);
  for (const { bytes } of answers) assert.ok(bytes.equals(body));
  assert.ok(proxy.bytes - before >= 2 * body.length);
});

test('adds its latency to each request', async () => {
  Object.assign(proxy.link, { bytesPerSecond: 0, latencyMs: 60 });
  await get();
  const { ms } = await get();
  assert.ok(ms >= 55, `${ms}`);
});
