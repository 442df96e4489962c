import type { ApiKeyGrant } from '@longshore/db';
import type { Bindings } from './bindings.ts';
import type { RequestScope } from './request-scope.ts';

/** Hono's view of a request: the bindings it came with and what middleware put beside it. */
export interface EdgeEnvironment {
  Bindings: Bindings;
  Variables: {
    scope: RequestScope;
    /** Present on every route under /v1. */
    apiKey: ApiKeyGrant;
  };
}
