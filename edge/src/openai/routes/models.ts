import type { Context } from 'hono';
import { mayUse, modelNotFound } from '../../auth/domain/access.ts';
import type { EdgeEnvironment } from '../../environment.ts';
import type { ServedModel } from '../../router/ports.ts';

const modelObject = ({ id, createdAt, contextLength, family, chat }: ServedModel) => ({
  id,
  object: 'model',
  created: createdAt,
  owned_by: 'longshore',
  longshore: { family, context_length: contextLength, chat },
});

/** GET /v1/models: what live workers serve and the key may use. */
export async function listModels(c: Context<EdgeEnvironment>): Promise<Response> {
  const models = await c.var.scope.router.models();
  const usable = models.filter(({ id }) => mayUse(c.var.apiKey, id));
  return c.json({ object: 'list', data: usable.map(modelObject) });
}

/** GET /v1/models/:id, where the id may hold slashes. */
export async function getModel(c: Context<EdgeEnvironment>): Promise<Response> {
  const id = c.req.param('id') ?? '';
  const model = (await c.var.scope.router.models()).find((served) => served.id === id);
  if (model === undefined || !mayUse(c.var.apiKey, id)) throw modelNotFound(id);
  return c.json(modelObject(model));
}
