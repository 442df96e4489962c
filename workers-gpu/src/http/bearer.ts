import { createHash, timingSafeEqual } from 'node:crypto';
import { LongshoreError } from '@longshore/core';
import { createMiddleware } from 'hono/factory';

const digest = (text: string) => createHash('sha256').update(text).digest();

/** Requires `Authorization: Bearer <token>`; compares digests in constant time, so neither content nor length leaks. */
export function bearer(token: string) {
  const wanted = digest(token);
  return createMiddleware(async (context, next) => {
    const [scheme, given] = (context.req.header('authorization') ?? '').split(' ', 2);
    if (scheme?.toLowerCase() !== 'bearer' || !timingSafeEqual(digest(given ?? ''), wanted)) {
      throw new LongshoreError('invalid_api_key', "This is a worker's own port: it needs the pool token as bearer.");
    }
    await next();
  });
}
