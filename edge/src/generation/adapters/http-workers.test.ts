import assert from 'node:assert/strict';
import { after, before, beforeEach, mock, test } from 'node:test';
import type { GenerateEvent, GenerateRequest } from '@longshore/core';
import { FakeWorker, POOL_TOKEN, refuse } from '../../testing/fake-worker.ts';
import type { WorkerTask } from '../ports.ts';
import { HttpWorkers } from './http-workers.ts';

const worker = new FakeWorker('a');
const workers = new HttpWorkers(POOL_TOKEN);
const body = {
  requestId: 'req_1',
  organizationId: 'org_1',
  model: 'tiny',
  input: { kind: 'text', text: 'hi' },
  maxTokens: 3,
} as GenerateRequest;
const task: WorkerTask = { path: '/generate', body };

before(() => worker.start());
beforeEach(() => {
  worker.fault = undefined;
});
after(() => worker.stop());

async function run(signal: AbortSignal = new AbortController().signal, from = workers): Promise<GenerateEvent[]> {
  const { workerId, epoch, url } = worker.beat();
  const events: GenerateEvent[] = [];
  for await (const event of from.events({ workerId, epoch, url, ticket: 1 }, task, signal)) events.push(event);
  return events;
}

test('yields the worker’s events in order', async () => {
  assert.deepEqual(
    (await run()).map(({ type }) => type),
    ['accepted', 'progress', 'token', 'token', 'token', 'done'],
  );
});

test('events cut anywhere by the network arrive whole', async () => {
  worker.fault = async (_, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const bytes = Buffer.from(
      `: comment\n\ndata: ${JSON.stringify({ type: 'token', index: 0, id: 1, text: 'é€😀' })}\n\n`,
    );
    for (const byte of bytes) {
      response.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    response.end();
    return true;
  };
  assert.deepEqual(await run(), [{ type: 'token', index: 0, id: 1, text: 'é€😀' }]);
});

test('a typed refusal is the worker’s own error', async () => {
  worker.fault = (_, response) => {
    refuse(response, 429, { code: 'overloaded', message: 'full', retryAfterSeconds: 3 });
    return true;
  };
  await assert.rejects(run(), { name: 'LongshoreError', code: 'overloaded', retryAfterSeconds: 3 });
});

const BROKEN: [name: string, status: number, answer: string][] = [
  ['a bare 500', 500, 'oops'],
  ['an error of unknown code', 400, '{"error":{"code":"surprise","message":"x"}}'],
  ['an event that is no JSON', 200, 'data: {"type":\n\n'],
  ['an endless event', 200, `data: ${'x'.repeat(5 * 1024 * 1024)}`],
];

for (const [name, status, answer] of BROKEN) {
  test(`${name} means that the worker is lost`, async () => {
    worker.fault = (_, response) => {
      response.writeHead(status).end(answer);
      return true;
    };
    await assert.rejects(run(), { name: 'WorkerLost' });
  });
}

test('a closed port or a wrong token means that the worker is lost', async () => {
  await assert.rejects(run(undefined, new HttpWorkers('another-token')), { name: 'WorkerLost' });
  const gone = workers.events(
    { workerId: 'g', epoch: 'e', url: 'http://127.0.0.1:9', ticket: 1 },
    task,
    new AbortController().signal,
  );
  await assert.rejects(gone.next(), { name: 'WorkerLost' });
});

test('a worker that falls silent in mid-stream is lost after 30 seconds', async () => {
  let open: (() => void) | undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  worker.fault = (call, _response, send) => {
    send({ type: 'accepted', requestId: call.body.requestId, workerId: 'a', promptTokens: 1, seed: 1 });
    open!();
    return true;
  };
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const running = run();
    running.catch(() => {});
    await opened;
    await new Promise((resolve) => setImmediate(resolve));
    for (let waited = 0; waited < 10; waited++) await new Promise((resolve) => setImmediate(resolve));
    mock.timers.tick(29_000);
    const early = await Promise.race([
      running.catch(() => 'lost'),
      new Promise((resolve) => setImmediate(() => resolve('open'))),
    ]);
    assert.equal(early, 'open');
    mock.timers.tick(31_000);
    await assert.rejects(running, { name: 'WorkerLost' });
  } finally {
    mock.timers.reset();
  }
});

test('an aborted request rejects with the abort’s own reason and closes the connection', async () => {
  worker.fault = (call, _response, send) => {
    send({ type: 'accepted', requestId: call.body.requestId, workerId: 'a', promptTokens: 1, seed: 1 });
    return true;
  };
  const client = new AbortController();
  const running = run(client.signal);
  setTimeout(() => client.abort(new RangeError('enough')), 50);
  await assert.rejects(running, RangeError);
  const call = worker.calls.at(-1)!;
  for (let waited = 0; waited < 100 && !call.aborted; waited++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(call.aborted, true);
});

test('cancelling never rejects, whether the worker is there or not', async () => {
  const { workerId, epoch, url } = worker.beat();
  await workers.cancel({ workerId, epoch, url, ticket: 1 }, 'req_9');
  assert.ok(worker.cancelled.includes('req_9'));
  await workers.cancel({ workerId, epoch, url: 'http://127.0.0.1:9', ticket: 1 }, 'req_9');
});
