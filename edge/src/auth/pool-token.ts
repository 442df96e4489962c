import { LongshoreError } from '@longshore/core';
import { createMiddleware } from 'hono/factory';
import type { EdgeEnvironment } from '../environment.ts';
import { bearerOf } from './authenticate.ts';

const digest = async (text: string) =>
  new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));

/** Compares digests, all bytes of them: the time tells nothing about the secret. */
async function equalSecrets(a: string, b: string): Promise<boolean> {
  const [left, right] = await Promise.all([digest(a), digest(b)]);
  let difference = 0;
  for (let index = 0; index < left.length; index++) difference |= left[index]! ^ right[index]!;
  return difference === 0;
}

/** Only workers of the pool pass. */
export const requirePoolToken = createMiddleware<EdgeEnvironment>(async function requirePoolToken(c, next) {
  const token = bearerOf(c.req.header('authorization'));
  if (token === undefined || !(await equalSecrets(token, c.get('scope').config.poolToken)))
    throw new LongshoreError('invalid_api_key', 'This route takes the pool token as bearer.');
  await next();
});
