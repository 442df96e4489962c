import {
  attentionRequestSchema,
  cancelRequestSchema,
  ERROR_STATUS,
  generateRequestSchema,
  LongshoreError,
  prefillRequestSchema,
  toWireError,
} from '@longshore/core';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { Worker } from '../worker.ts';
import { bearer } from './bearer.ts';
import { readBody } from './read-body.ts';
import { importRoute, sessionRoutes } from './session-routes.ts';
import { streamRequest } from './stream-request.ts';

/** The edge sends at most 8 MB of JSON; token arrays of the same prompt may be longer. */
const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** The worker's HTTP surface, docs in core/src/protocol. Errors before a stream begins are {error: WireError} with their status. */
export function workerApp(worker: Worker, poolToken: string): Hono {
  const app = new Hono();
  const { log } = worker.parts;

  app.onError((error, context) => {
    const failure = error instanceof LongshoreError ? error : undefined;
    if (failure === undefined || failure.code === 'internal')
      log.error('request_failed', { path: context.req.path, error });
    const wire = toWireError(error);
    if (wire.retryAfterSeconds !== undefined) context.header('retry-after', String(wire.retryAfterSeconds));
    return context.json({ error: wire }, ERROR_STATUS[wire.code] as ContentfulStatusCode);
  });
  app.notFound((context) => {
    throw new LongshoreError('not_found', `There is no ${context.req.method} ${context.req.path} here.`);
  });

  app.get('/healthz', (context) => context.json({ state: worker.state }, worker.state === 'unhealthy' ? 503 : 200));

  app.use(bearer(poolToken));
  importRoute(app, worker);
  app.use(
    bodyLimit({
      maxSize: MAX_BODY_BYTES,
      onError: () => {
        throw new LongshoreError('body_too_large', `A request body holds at most ${MAX_BODY_BYTES} bytes.`);
      },
    }),
  );
  app.post('/generate', async (context) => {
    const request = await readBody(context, generateRequestSchema);
    return streamRequest(worker, 'generate', request, context.req.raw.signal, (signal, emit) =>
      worker.generate(request, signal, emit),
    );
  });
  app.post('/prefill', async (context) => {
    const request = await readBody(context, prefillRequestSchema);
    return streamRequest(worker, 'prefill', request, context.req.raw.signal, (signal, emit) =>
      worker.prefill(request, signal, emit),
    );
  });
  app.post('/cancel', async (context) => {
    const { requestId } = await readBody(context, cancelRequestSchema);
    return context.json({ cancelled: worker.parts.gate.cancel(requestId) });
  });
  app.post('/attention', async (context) => {
    const request = await readBody(context, attentionRequestSchema);
    return context.json(await worker.attention(request, context.req.raw.signal));
  });
  sessionRoutes(app, worker);
  app.get('/stats', (context) => context.json(worker.stats()));
  app.get('/metrics', async (context) =>
    context.text(await worker.metrics.render(), 200, { 'content-type': worker.metrics.contentType }),
  );
  app.post('/drain', async (context) => context.json({ drained: await worker.drain() }));
  return app;
}
