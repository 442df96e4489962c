import { type GenerateEvent, LongshoreError, toWireError } from '@longshore/core';
import type { Emit } from '../serving/generate.ts';
import type { Worker } from '../worker.ts';
import { EventStream } from './event-stream.ts';
import { requireModel } from './gated.ts';

interface StreamedRequest {
  requestId: string;
  model: string;
  deadline?: number;
}

/**
 * Runs a request as an event stream. Resolves with the response once the first event is there; throws what went wrong before.
 * The client going away, POST /cancel, the deadline and a shutdown all end it through one signal.
 */
export async function streamRequest(
  worker: Worker,
  kind: 'generate' | 'prefill',
  request: StreamedRequest,
  clientGone: AbortSignal,
  serve: (signal: AbortSignal, emit: Emit) => Promise<void>,
): Promise<Response> {
  const { gate, log, now, wallClock } = worker.parts;
  requireModel(worker, request.model);
  const startedAt = now();
  const controller = gate.enter(request.requestId);
  const stream = new EventStream((reason) => controller.abort(reason));
  const gone = () => controller.abort(new LongshoreError('cancelled', 'The client went away.'));
  clientGone.addEventListener('abort', gone, { once: true });
  const deadline = deadlineTimer(request.deadline, wallClock, controller);
  let last: GenerateEvent | undefined;
  let failure: unknown;
  const work = serve(controller.signal, (event) => {
    last = event;
    stream.emit(event);
  })
    .then(() => stream.end())
    .catch((error: unknown) => {
      failure = failureOf(error, controller.signal);
      stream.fail(failure);
    })
    .finally(() => {
      clearTimeout(deadline);
      clientGone.removeEventListener('abort', gone);
      gate.leave(controller);
      const code = failure === undefined ? 'ok' : toWireError(failure).code;
      worker.metrics.requestEnded(kind, code, last?.type === 'done' ? last : undefined);
      const fields = { requestId: request.requestId, kind, code, ms: Math.round(now() - startedAt) };
      if (code === 'internal') log.error('request_ended', { ...fields, error: failure });
      else log.info('request_ended', { ...fields, ...(last?.type === 'done' ? summary(last) : {}) });
    });
  await Promise.race([stream.opened, work]);
  if (!stream.begun) throw failure;
  return stream.response();
}

function deadlineTimer(
  deadline: number | undefined,
  wallClock: () => number,
  controller: AbortController,
): NodeJS.Timeout | undefined {
  if (deadline === undefined) return undefined;
  const left = Math.min(Math.max(0, deadline - wallClock()), 2 ** 31 - 1);
  return setTimeout(
    () => controller.abort(new LongshoreError('timeout', 'The request was not done by its deadline.')),
    left,
  ).unref();
}

/** An abort surfaces as whatever was waiting at that moment; its reason is what the client should read. */
function failureOf(error: unknown, signal: AbortSignal): unknown {
  return signal.aborted && !(error instanceof LongshoreError) ? signal.reason : error;
}

function summary(done: Extract<GenerateEvent, { type: 'done' }>): Record<string, unknown> {
  const { usage, timings, cache } = done;
  return {
    ...usage,
    ttftMs: Math.round(timings.ttftMs),
    tier: cache.tier,
    decision: cache.decision,
    missReason: cache.missReason,
  };
}
