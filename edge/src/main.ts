import { createApp } from './app.ts';

/** The Worker's entry: infra/wrangler.jsonc names this file. */
export { PoolRouter } from './router/pool-router.ts';

export default createApp();
