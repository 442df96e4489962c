import { heartbeatSchema } from '@longshore/core';
import type { Context } from 'hono';
import type { EdgeEnvironment } from '../environment.ts';
import { readJson } from '../http/json-body.ts';
import { validate } from '../http/validate.ts';
import { RouterClient } from '../router/adapters/router-client.ts';

/** POST /internal/heartbeats: a worker tells its pool's router that it lives and how busy it is. */
export async function heartbeats(c: Context<EdgeEnvironment>): Promise<Response> {
  const beat = validate(heartbeatSchema, await readJson(c.req.raw));
  await new RouterClient(c.env.POOL_ROUTER, beat.pool).heartbeat(beat);
  return c.body(null, 204);
}
