import { exportRequestSchema, importRequestSchema, LongshoreError, truncateRequestSchema } from '@longshore/core';
import type { Hono } from 'hono';
import type { Worker } from '../worker.ts';
import { gated, requireModel } from './gated.ts';
import { readBody } from './read-body.ts';

/** Bodies of any size: to be registered before the limit on bodies. */
export function importRoute(app: Hono, worker: Worker): void {
  app.post('/sessions/import', async (context) => {
    const parsed = importRequestSchema.safeParse(context.req.query());
    const { body } = context.req.raw;
    if (!parsed.success || body === null)
      throw new LongshoreError(
        'invalid_request',
        'An import names requestId, organizationId, model and session, and has a body.',
      );
    return context.json(await gated(worker, parsed.data, (signal) => worker.files.import(parsed.data, body, signal)));
  });
}

export function sessionRoutes(app: Hono, worker: Worker): void {
  app.post('/sessions/truncate', async (context) => {
    const request = await readBody(context, truncateRequestSchema);
    return context.json(await gated(worker, request, () => worker.truncate(request)));
  });
  app.post('/sessions/export', async (context) => {
    const request = await readBody(context, exportRequestSchema);
    requireModel(worker, request.model);
    const { gate } = worker.parts;
    const controller = gate.enter(request.requestId);
    const file = await worker.files
      .export(request, controller.signal, () => gate.leave(controller))
      .catch((error: unknown) => {
        gate.leave(controller);
        throw error;
      });
    return context.body(file, 200, { 'content-type': 'application/vnd.longshore.session' });
  });
}
