import { LongshoreError } from '@longshore/core';

export type Scope = 'inference' | 'sessions' | 'caches' | 'admin:read' | 'admin:write';

export interface Grant {
  scopes: readonly string[];
  /** null: every model. */
  models: readonly string[] | null;
}

/** Throws `insufficient_scope` unless the key has the scope. */
export function requireScope(grant: Grant, scope: Scope): void {
  if (grant.scopes.includes(scope)) return;
  throw new LongshoreError('insufficient_scope', `This API key lacks the scope "${scope}". Use a key that has it.`);
}

export const mayUse = (grant: Grant, model: string): boolean => grant.models === null || grant.models.includes(model);

/** One answer for both, so that a key learns nothing of models that it may not use. */
export function modelNotFound(model: string): LongshoreError {
  return new LongshoreError(
    'model_not_found',
    `The model "${model.slice(0, 100)}" does not exist or this API key may not use it. GET /v1/models lists what it may use.`,
    { param: 'model' },
  );
}

/** Throws `model_not_found` when the key's allow-list leaves the model out. */
export function requireModel(grant: Grant, model: string): void {
  if (!mayUse(grant, model)) throw modelNotFound(model);
}
