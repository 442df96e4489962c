import {
  ERROR_STATUS,
  fromWireError,
  type GenerateEvent,
  type LongshoreError,
  SseDecoder,
  type WireError,
} from '@longshore/core';
import type { PickedWorker } from '../../router/ports.ts';
import { WorkerLost, type WorkersPort, type WorkerTask } from '../ports.ts';

/** From the request to the response's head: the worker answers at once or refuses. */
const HEAD_TIMEOUT_MS = 10_000;
/** Between two pieces of a stream, keep-alive comments included. */
const SILENCE_TIMEOUT_MS = 30_000;
/** Between the last event and the end of the stream. */
const DRAIN_TIMEOUT_MS = 250;
const CANCEL_TIMEOUT_MS = 2000;
const MAX_ERROR_BODY = 64 * 1024;

/** Aborts what it watches when no sign of life comes in time. */
class Watchdog {
  private readonly controller = new AbortController();
  private timer: ReturnType<typeof setTimeout> | undefined;

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  expect(withinMs: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.controller.abort(new Error(`silent for ${withinMs} ms`)), withinMs);
  }

  stop(): void {
    clearTimeout(this.timer);
    this.controller.abort();
  }
}

function wireErrorOf(text: string): WireError | undefined {
  try {
    const { error } = JSON.parse(text) as { error?: Partial<WireError> };
    if (error?.code !== undefined && error.code in ERROR_STATUS && typeof error.message === 'string')
      return error as WireError;
  } catch {
    // Not ours: the caller treats the answer as a broken worker.
  }
  return undefined;
}

async function refusal(response: Response, workerId: string): Promise<LongshoreError | WorkerLost> {
  const wire = wireErrorOf((await response.text()).slice(0, MAX_ERROR_BODY));
  return wire === undefined ? new WorkerLost(workerId, `answered ${response.status}`) : fromWireError(wire);
}

/** Reads to the end, so that the connection can serve the next request; a worker that does not end is cut off. */
async function drain(reader: ReadableStreamDefaultReader<Uint8Array>, watchdog: Watchdog): Promise<void> {
  watchdog.expect(DRAIN_TIMEOUT_MS);
  try {
    while (!(await reader.read()).done);
  } catch {
    // Everything that matters was read.
  }
}

/** Workers over HTTP: JSON in, server-sent events out, the pool token as bearer. */
export class HttpWorkers implements WorkersPort {
  private readonly poolToken: string;

  constructor(poolToken: string) {
    this.poolToken = poolToken;
  }

  async *events(worker: PickedWorker, task: WorkerTask, signal: AbortSignal): AsyncGenerator<GenerateEvent> {
    const watchdog = new Watchdog();
    try {
      watchdog.expect(HEAD_TIMEOUT_MS);
      const either = AbortSignal.any([signal, watchdog.signal]);
      const response = await this.post(worker, task.path, task.body, either);
      if (!response.ok || response.body === null) throw await refusal(response, worker.workerId);
      yield* this.decode(response.body.getReader(), watchdog);
    } catch (cause) {
      signal.throwIfAborted();
      if (cause instanceof Error && (cause.name === 'LongshoreError' || cause.name === 'WorkerLost')) throw cause;
      throw new WorkerLost(worker.workerId, 'broke off', cause);
    } finally {
      watchdog.stop();
    }
  }

  /** POSTs JSON and returns the JSON answer. Throws LongshoreError for a refusal, WorkerLost when no answer comes. */
  ask(worker: PickedWorker, path: string, body: unknown, signal: AbortSignal): Promise<unknown> {
    return this.answered(worker, this.post(worker, path, body, signal), (response) => response.json());
  }

  /** POSTs JSON and returns the answer's bytes as they come. */
  download(
    worker: PickedWorker,
    path: string,
    body: unknown,
    signal: AbortSignal,
  ): Promise<ReadableStream<Uint8Array>> {
    return this.answered(worker, this.post(worker, path, body, signal), async (response) => response.body!);
  }

  /** POSTs a stream of bytes, without ever holding more than a piece of it, and returns the JSON answer. */
  upload(worker: PickedWorker, path: string, body: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<unknown> {
    const headers = { 'content-type': 'application/octet-stream', authorization: `Bearer ${this.poolToken}` };
    // Node wants to be told that the answer comes after the body; workerd does not mind.
    const init = { method: 'POST', headers, body, signal, duplex: 'half' };
    const sent = fetch(new URL(path, worker.url), init as RequestInit);
    return this.answered(worker, sent, (response) => response.json());
  }

  private async answered<T>(
    worker: PickedWorker,
    sent: Promise<Response>,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    try {
      const response = await sent;
      if (!response.ok) throw await refusal(response, worker.workerId);
      return await read(response);
    } catch (cause) {
      if (cause instanceof Error && (cause.name === 'LongshoreError' || cause.name === 'WorkerLost')) throw cause;
      throw new WorkerLost(worker.workerId, 'did not answer', cause);
    }
  }

  async cancel(worker: PickedWorker, requestId: string): Promise<void> {
    try {
      const response = await this.post(worker, '/cancel', { requestId }, AbortSignal.timeout(CANCEL_TIMEOUT_MS));
      await response.body?.cancel();
    } catch {
      // Gone: then so is the work.
    }
  }

  private post(worker: PickedWorker, path: string, body: unknown, signal: AbortSignal): Promise<Response> {
    return fetch(new URL(path, worker.url), {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${this.poolToken}` },
      body: JSON.stringify(body),
      signal,
    });
  }

  private async *decode(
    reader: ReadableStreamDefaultReader<Uint8Array>,
    watchdog: Watchdog,
  ): AsyncGenerator<GenerateEvent> {
    const text = new TextDecoder();
    const sse = new SseDecoder();
    for (;;) {
      watchdog.expect(SILENCE_TIMEOUT_MS);
      const { done, value } = await reader.read();
      if (done) return;
      for (const { data } of sse.push(text.decode(value, { stream: true }))) {
        const event = JSON.parse(data) as GenerateEvent;
        yield event;
        if (event.type === 'done') return await drain(reader, watchdog);
      }
    }
  }
}
