import type { TruncateAnswer } from '@longshore/core';
import { changeSession, deleteSession, forkSession, type SessionSummary } from '@longshore/db';
import type { Context } from 'hono';
import { requireModel, requireScope } from '../../auth/domain/access.ts';
import type { EdgeEnvironment } from '../../environment.ts';
import { readJson, readOptionalJson } from '../../http/json-body.ts';
import { randomId } from '../../http/random-id.ts';
import type { RequestScope } from '../../request-scope.ts';
import { sessionObject } from '../domain/session-object.ts';
import { requireSession, sessionNotFound } from '../find.ts';
import { requireReady } from '../ready.ts';
import { type CutPoint, parseChange, parseFork, parseTruncate } from '../requests/change-session.ts';
import { askWorker } from '../worker-call.ts';

/** PATCH /v1/sessions/:id: label, metadata, ttl_seconds, pinned. */
export async function change(c: Context<EdgeEnvironment>): Promise<Response> {
  const { apiKey, scope } = c.var;
  requireScope(apiKey, 'sessions');
  const id = c.req.param('id') ?? '';
  const wanted = parseChange(await readJson(c.req.raw));
  await requireSession(scope, apiKey, id);
  const session = await scope.query((db) => changeSession(db, apiKey, id, wanted));
  if (session === undefined) throw sessionNotFound(id);
  return c.json(sessionObject(session));
}

const cut = (scope: RequestScope, session: SessionSummary, point: CutPoint): Promise<TruncateAnswer> =>
  askWorker<TruncateAnswer>(scope, session, '/sessions/truncate', point);

/** POST /v1/sessions/:id/truncate: back to the end of a turn, or to a number of tokens. */
export async function truncate(c: Context<EdgeEnvironment>): Promise<Response> {
  const { apiKey, scope } = c.var;
  requireScope(apiKey, 'sessions');
  const point = parseTruncate(await readJson(c.req.raw));
  const session = await requireSession(scope, apiKey, c.req.param('id') ?? '');
  requireModel(apiKey, session.model);
  requireReady(session);
  await cut(scope, session, point);
  return c.json(sessionObject(await requireSession(scope, apiKey, session.id)));
}

/** POST /v1/sessions/:id/fork: another session that goes on from here, sharing every stored byte with this one. */
export async function fork(c: Context<EdgeEnvironment>): Promise<Response> {
  const { apiKey, scope } = c.var;
  requireScope(apiKey, 'sessions');
  const { cut: point, ...fields } = parseFork(await readOptionalJson(c.req.raw));
  const source = await requireSession(scope, apiKey, c.req.param('id') ?? '');
  requireModel(apiKey, source.model);
  requireReady(source);
  const id = randomId('session');
  const made = await scope.query((db) => forkSession(db, apiKey, { id, sourceId: source.id, ...fields }));
  if (made === undefined) throw sessionNotFound(source.id);
  if (point === undefined) return c.json(sessionObject(made), 201);
  try {
    await cut(scope, made, point);
  } catch (error) {
    scope.defer(
      'delete_fork',
      scope.query((db) => deleteSession(db, apiKey.organizationId, id)),
    );
    throw error;
  }
  return c.json(sessionObject(await requireSession(scope, apiKey, id)), 201);
}
