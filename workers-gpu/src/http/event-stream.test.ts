import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type GenerateEvent, LongshoreError, SseDecoder } from '@longshore/core';
import { EventStream } from './event-stream.ts';

const progress = (done: number): GenerateEvent => ({ type: 'progress', phase: 'prefill', done, total: 10 });

async function read(stream: EventStream): Promise<GenerateEvent[]> {
  return new SseDecoder().push(await stream.response().text()).map((event) => JSON.parse(event.data) as GenerateEvent);
}

test('delivers every event in order and ends', async () => {
  const stream = new EventStream(() => assert.fail('nobody went away'));
  stream.emit(progress(1));
  const reading = read(stream);
  stream.emit(progress(2));
  await new Promise((resolve) => setTimeout(resolve, 5));
  stream.emit(progress(3));
  stream.end();
  assert.deepEqual(await reading, [progress(1), progress(2), progress(3)]);
});

test('does not begin before the first event, so that a refused request can be a status', async () => {
  const stream = new EventStream(() => {});
  stream.fail(new LongshoreError('invalid_request', 'x'));
  assert.equal(stream.begun, false);
});

test('reports a failure after the beginning as an error event', async () => {
  const stream = new EventStream(() => {});
  stream.emit(progress(1));
  stream.fail(new LongshoreError('worker_failed', 'gone'));
  const events = await read(stream);
  assert.deepEqual(events[1], { type: 'error', error: { code: 'worker_failed', message: 'gone' } });
});

test('tells when the client goes away', async () => {
  const reasons: string[] = [];
  const stream = new EventStream((reason) => reasons.push(reason.code));
  stream.emit(progress(1));
  await stream.response().body!.cancel();
  assert.deepEqual(reasons, ['cancelled']);
  stream.emit(progress(2));
});

test('cuts off a client that reads nothing, at a stated bound', () => {
  const reasons: string[] = [];
  const stream = new EventStream((reason) => reasons.push(reason.message));
  const text = 'x'.repeat(1024 * 1024);
  for (let index = 0; index < 20; index++) stream.emit({ type: 'token', index, id: 1, text });
  assert.equal(reasons.length, 1);
});
