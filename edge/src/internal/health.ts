import { pingDatabase } from '@longshore/db';
import type { Context } from 'hono';
import type { EdgeEnvironment } from '../environment.ts';

/** GET /healthz: this process answers. */
export const healthz = (c: Context<EdgeEnvironment>): Response => c.json({ status: 'ok' });

/** GET /readyz: a request would be served: the database answers and at least one worker lives. */
export async function readyz(c: Context<EdgeEnvironment>): Promise<Response> {
  const { scope } = c.var;
  const [database, workers] = await Promise.all([
    scope.query(pingDatabase).then(
      () => 'ok',
      () => 'unavailable',
    ),
    scope.router.liveWorkers(),
  ]);
  const ready = database === 'ok' && workers > 0;
  if (!ready) c.header('retry-after', '1');
  return c.json({ status: ready ? 'ready' : 'not_ready', database, workers }, ready ? 200 : 503);
}
