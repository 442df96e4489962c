import { hashApiKey, isWellFormedApiKey, LongshoreError } from '@longshore/core';
import { type ApiKeyGrant, findApiKey, touchApiKey } from '@longshore/db';
import { createMiddleware } from 'hono/factory';
import type { EdgeEnvironment } from '../environment.ts';
import type { RequestScope } from '../request-scope.ts';
import { KeyCache } from './key-cache.ts';

const TOUCH_AFTER_MS = 60_000;

function refuse(message: string): LongshoreError {
  return new LongshoreError('invalid_api_key', message);
}

export function bearerOf(header: string | undefined): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1];
}

async function lookUp(scope: RequestScope, cache: KeyCache, key: string): Promise<ApiKeyGrant> {
  const hash = hashApiKey(key);
  const now = Date.now();
  const cached = cache.get(hash, now);
  if (cached !== undefined) return cached;
  const grant = await scope.query((db) => findApiKey(db, hash));
  if (grant === undefined) throw refuse('Incorrect API key provided. Check the key, or ask an administrator for one.');
  if (grant.state === 'disabled') throw refuse('This API key has been revoked. Use another one.');
  if (grant.state === 'expired') throw refuse('This API key has expired. Use another one.');
  cache.put(hash, grant, now);
  if (grant.lastUsedAt === null || now - grant.lastUsedAt.getTime() > TOUCH_AFTER_MS)
    scope.defer(
      'touch_api_key',
      scope.query((db) => touchApiKey(db, grant.id)),
    );
  return grant;
}

/** Sets `apiKey`, or throws `invalid_api_key`, or `database_unavailable`: no answer from the database is never a yes. */
export function authenticate(cache: KeyCache = new KeyCache()) {
  return createMiddleware<EdgeEnvironment>(async function authenticate(c, next) {
    const key = bearerOf(c.req.header('authorization'));
    if (key === undefined) throw refuse('No API key provided. Send "Authorization: Bearer YOUR_KEY".');
    if (!isWellFormedApiKey(key)) throw refuse('Incorrect API key provided: it is mistyped or cut short.');
    c.set('apiKey', await lookUp(c.get('scope'), cache, key));
    await next();
  });
}
