import type { PoolRouterPort } from './router/ports.ts';

/** What infra/wrangler.jsonc binds. Routers answer by remote procedure calls; their names are pools. */
export interface Bindings {
  HYPERDRIVE: { connectionString: string };
  POOL_ROUTER: RouterNamespace;
  LONGSHORE_POOL?: string;
  LONGSHORE_POOL_TOKEN?: string;
  LONGSHORE_REQUEST_TIMEOUT_MS?: string;
}

export interface RouterNamespace {
  getByName(pool: string): PoolRouterPort;
}
