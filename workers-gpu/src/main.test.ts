import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Heartbeat, heartbeatSchema } from '@longshore/core';
import { createTestDatabase, type TestDatabase } from '@longshore/db/testing';
import { testModel } from './testing/test-model.ts';
import { readAnswer } from './testing/worker-bench.ts';

const TOKEN = 'process-test-token';
let database: TestDatabase;
let edge: Server;
const beats: Heartbeat[] = [];
const children: ChildProcess[] = [];

/** Takes heartbeats and nothing else: stands for the edge. */
before(async () => {
  database = await createTestDatabase();
  edge = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const ours = request.url === '/internal/heartbeats' && request.headers.authorization === `Bearer ${TOKEN}`;
    if (ours) beats.push(heartbeatSchema.parse(JSON.parse(body)));
    response.writeHead(ours ? 204 : 404).end();
  });
  await new Promise<void>((resolve) => edge.listen(0, '127.0.0.1', resolve));
});
after(async () => {
  for (const child of children) child.kill('SIGKILL');
  edge.close();
  await database.close();
});

async function environment(): Promise<Record<string, string>> {
  return {
    PATH: process.env.PATH ?? '',
    LONGSHORE_WORKER_ID: 'wrk-process',
    LONGSHORE_WORKER_PORT: '0',
    LONGSHORE_EDGE_URL: `http://127.0.0.1:${(edge.address() as AddressInfo).port}`,
    LONGSHORE_POOL_TOKEN: TOKEN,
    LONGSHORE_MODEL: await testModel(),
    LONGSHORE_MODEL_ID: 'tested',
    LONGSHORE_KV_BYTES: String(64 * 1024 ** 2),
    LONGSHORE_MASTER_KEY: '12'.repeat(32),
    DATABASE_URL: database.url,
    S3_ENDPOINT: 'http://127.0.0.1:9',
    S3_BUCKET: 'none',
    S3_ACCESS_KEY_ID: 'none',
    S3_SECRET_ACCESS_KEY: 'none',
  };
}

interface Started {
  child: ChildProcess;
  output: { stdout: string; stderr: string };
  exit: Promise<number | null>;
}

function start(env: Record<string, string>): Started {
  const child = spawn(process.execPath, [fileURLToPath(new URL('./main.ts', import.meta.url))], { env });
  children.push(child);
  const output = { stdout: '', stderr: '' };
  child.stdout!.on('data', (data: Buffer) => {
    output.stdout += data.toString();
  });
  child.stderr!.on('data', (data: Buffer) => {
    output.stderr += data.toString();
  });
  const exit = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  return { child, output, exit };
}

async function until<T>(look: () => T | undefined, ms = 20_000): Promise<T> {
  for (const end = Date.now() + ms; Date.now() < end; ) {
    const found = look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return assert.fail('did not happen in time');
}

test('a wrong environment ends the process at once, one line per mistake', async () => {
  const { LONGSHORE_MODEL: _, ...rest } = await environment();
  const { exit, output } = start({ ...rest, LONGSHORE_MASTER_KEY: 'short' });
  assert.equal(await exit, 2);
  assert.deepEqual(output.stderr.trim().split('\n').sort(), [
    'worker: LONGSHORE_MASTER_KEY: needs 64 hexadecimal digits (openssl rand -hex 32)',
    'worker: LONGSHORE_MODEL: is missing',
  ]);
});

test('a model that is not there is said in one line', async () => {
  const { exit, output } = start({ ...(await environment()), LONGSHORE_MODEL: '/nowhere/model.gguf' });
  assert.equal(await exit, 2);
  assert.match(output.stderr, /^worker: .*\/nowhere\/model\.gguf.*\n$/);
});

test('a busy port is said in one line with the remedy', async () => {
  const port = String((edge.address() as AddressInfo).port);
  const { exit, output } = start({ ...(await environment()), LONGSHORE_WORKER_PORT: port });
  assert.equal(await exit, 2);
  assert.equal(
    output.stderr,
    `worker: port ${port} is in use: stop what listens there or choose another LONGSHORE_WORKER_PORT\n`,
  );
});

test('sends heartbeats, finishes what runs after SIGTERM, says that it drains, and ends cleanly', async () => {
  const { child, exit } = start(await environment());
  const { url, model } = await until(() => beats.find((beat) => beat.state === 'ready'));
  assert.equal(model.id, 'tested');
  const count = beats.length;
  await until(() => (beats.length >= count + 2 ? true : undefined), 5000);
  const response = await fetch(`${url}/generate`, {
    method: 'POST',
    headers: { authorization: `Bearer ${TOKEN}` },
    body: JSON.stringify({
      requestId: 'last',
      organizationId: 'org_none',
      model: 'tested',
      input: { kind: 'text', text: 'Once' },
      maxTokens: 60,
      ignoreEos: true,
    }),
  });
  child.kill('SIGTERM');
  const answer = await readAnswer(response);
  assert.equal(answer.ids.length, 60, answer.error?.message);
  assert.equal(await exit, 0);
  assert.equal(beats.at(-1)!.state, 'draining');
  assert.equal(new Set(beats.map((beat) => beat.epoch)).size, 1);
});
