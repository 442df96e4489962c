import { createSession, failSession } from '@longshore/db';
import type { Context } from 'hono';
import { requireModel, requireScope } from '../../auth/domain/access.ts';
import type { EdgeEnvironment } from '../../environment.ts';
import { Run } from '../../generation/run.ts';
import { readJson } from '../../http/json-body.ts';
import { patientJson } from '../../http/patient-json.ts';
import { randomId } from '../../http/random-id.ts';
import { sseResponse } from '../../http/sse-response.ts';
import { createStreamed, createWhole, prefillRequest } from '../creation.ts';
import { sessionObject } from '../domain/session-object.ts';
import { requireServed } from '../model-check.ts';
import { parseCreateSession } from '../requests/create-session.ts';

/** POST /v1/sessions: prefill once. Answers when the session is ready, or streams progress until it is. */
export async function create(c: Context<EdgeEnvironment>): Promise<Response> {
  const { apiKey, scope } = c.var;
  requireScope(apiKey, 'sessions');
  const request = parseCreateSession(await readJson(c.req.raw));
  const { model, label, metadata, ttlSeconds } = request;
  requireModel(apiKey, model);
  await requireServed(scope, model);

  const { organizationId, projectId } = apiKey;
  const sessionId = randomId('session');
  const row = { id: sessionId, organizationId, projectId, model, label, metadata, ttlSeconds };
  const session = await scope.query((db) => createSession(db, row));
  const run = new Run({
    scope,
    apiKey,
    endpoint: '/v1/sessions',
    model,
    promptParam: request.input.kind === 'messages' ? 'messages' : 'input',
    clientSignal: c.req.raw.signal,
    onFailure: ({ message }) => scope.query((db) => failSession(db, organizationId, sessionId, message)),
  });
  const plan = { requestId: scope.requestId, sessionId, organizationId, deadline: run.deadline, request };
  const relay = run.sequence({ path: '/prefill', body: prefillRequest(plan) });
  const parts = { scope, apiKey, run, relay, sessionId };
  if (request.stream) return sseResponse(createStreamed(parts, sessionObject(session)), () => run.cancel());
  return patientJson(createWhole(parts), () => run.cancel(), 201);
}
