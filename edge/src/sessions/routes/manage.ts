import { isId } from '@longshore/core';
import { deleteSession, listSessions } from '@longshore/db';
import type { Context } from 'hono';
import { requireScope } from '../../auth/domain/access.ts';
import type { EdgeEnvironment } from '../../environment.ts';
import { sessionObject } from '../domain/session-object.ts';
import { requireSession, sessionNotFound } from '../find.ts';
import { parsePage } from '../requests/page.ts';

/** GET /v1/sessions */
export async function list(c: Context<EdgeEnvironment>): Promise<Response> {
  const { apiKey, scope } = c.var;
  requireScope(apiKey, 'sessions');
  const page = parsePage(c.req.query());
  const { sessions, hasMore } = await scope.query((db) => listSessions(db, apiKey, page));
  return c.json({
    object: 'list',
    data: sessions.map(sessionObject),
    first_id: sessions[0]?.id ?? null,
    last_id: sessions.at(-1)?.id ?? null,
    has_more: hasMore,
  });
}

/** GET /v1/sessions/:id */
export async function get(c: Context<EdgeEnvironment>): Promise<Response> {
  const { apiKey, scope } = c.var;
  requireScope(apiKey, 'sessions');
  return c.json(sessionObject(await requireSession(scope, apiKey, c.req.param('id') ?? '')));
}

/** DELETE /v1/sessions/:id: tokens and transcript are forgotten at once, stored KV goes with the next sweep. */
export async function remove(c: Context<EdgeEnvironment>): Promise<Response> {
  const { apiKey, scope } = c.var;
  requireScope(apiKey, 'sessions');
  const id = c.req.param('id') ?? '';
  if (isId('session', id)) await requireSession(scope, apiKey, id);
  const deleted = isId('session', id) && (await scope.query((db) => deleteSession(db, apiKey.organizationId, id)));
  if (!deleted) throw sessionNotFound(id);
  return c.json({ id, object: 'session', deleted: true });
}
