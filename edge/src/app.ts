import { LongshoreError } from '@longshore/core';
import { type Context, Hono } from 'hono';
import { authenticate } from './auth/authenticate.ts';
import { requirePoolToken } from './auth/pool-token.ts';
import type { EdgeEnvironment } from './environment.ts';
import { asLongshoreError, errorResponse } from './http/error-response.ts';
import { healthz, readyz } from './internal/health.ts';
import { heartbeats } from './internal/heartbeats.ts';
import { chatCompletions } from './openai/routes/chat-completions.ts';
import { completions } from './openai/routes/completions.ts';
import { getModel, listModels } from './openai/routes/models.ts';
import { RequestScope } from './request-scope.ts';
import { change, fork, truncate } from './sessions/routes/change.ts';
import { create } from './sessions/routes/create.ts';
import { exportFile, importFile } from './sessions/routes/files.ts';
import { get, list, remove } from './sessions/routes/manage.ts';
import { turns } from './sessions/routes/turns.ts';

type Handler = (c: Context<EdgeEnvironment>) => Response | Promise<Response>;

/** Path -> method -> handler: any other method on a known path is 405. */
const ROUTES: Record<string, Record<string, Handler>> = {
  '/healthz': { GET: healthz },
  '/readyz': { GET: readyz },
  '/internal/heartbeats': { POST: heartbeats },
  '/v1/models': { GET: listModels },
  '/v1/models/:id{.+}': { GET: getModel },
  '/v1/chat/completions': { POST: chatCompletions },
  '/v1/completions': { POST: completions },
  '/v1/sessions': { POST: create, GET: list },
  '/v1/sessions/import': { POST: importFile },
  '/v1/sessions/:id': { GET: get, PATCH: change, DELETE: remove },
  '/v1/sessions/:id/export': { GET: exportFile },
  '/v1/sessions/:id/fork': { POST: fork },
  '/v1/sessions/:id/truncate': { POST: truncate },
  '/v1/sessions/:id/turns': { POST: turns },
};

function notAllowed(c: Context<EdgeEnvironment>, methods: string[]): Response {
  const error = new LongshoreError(
    'invalid_request',
    `${c.req.method} is not allowed here. Use ${methods.join(' or ')}.`,
  );
  const response = errorResponse(error);
  return new Response(response.body, {
    status: 405,
    headers: { 'content-type': 'application/json', allow: methods.join(', ') },
  });
}

function logFailure(c: Context<EdgeEnvironment>, error: LongshoreError): void {
  if (error.status < 500) return;
  const cause = error.cause instanceof Error ? (error.cause.stack ?? String(error.cause)) : undefined;
  console.error(
    JSON.stringify({
      level: 'error',
      at: c.req.path,
      request_id: c.var.scope?.requestId,
      code: error.code,
      message: error.message,
      cause,
    }),
  );
}

/** The whole edge as a Hono app; one per isolate. Its key cache lives as long as it does. */
export function createApp(): Hono<EdgeEnvironment> {
  const app = new Hono<EdgeEnvironment>();

  app.use(async function requestScope(c, next) {
    const scope = new RequestScope(c.env);
    c.set('scope', scope);
    await next();
    c.res.headers.set('x-request-id', scope.requestId);
    c.executionCtx.waitUntil(scope.settled());
  });
  app.use('/v1/*', authenticate());
  app.use('/internal/*', requirePoolToken);

  for (const [path, handlers] of Object.entries(ROUTES)) {
    for (const [method, handler] of Object.entries(handlers)) app.on(method, path, handler);
    app.all(path, (c) => notAllowed(c, Object.keys(handlers)));
  }

  app.notFound((c) => errorResponse(new LongshoreError('not_found', `There is no ${c.req.method} ${c.req.path}.`)));
  app.onError((thrown, c) => {
    const error = asLongshoreError(thrown);
    logFailure(c, error);
    return errorResponse(error);
  });
  return app;
}
