import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { ROOT } from '../config.ts';
import type { Home } from '../home/home.ts';
import type { ChildSpec } from '../processes/child.ts';
import { LogFile } from '../processes/log-file.ts';

export interface EdgeSettings {
  environment: NodeJS.ProcessEnv;
  port: number;
  databaseUrl: string;
  poolToken: string;
}

/** workerd through `wrangler dev`. Secrets reach it by a file of mode 0600, never by its arguments. */
export function edgeSpec(home: Home, settings: EdgeSettings): ChildSpec {
  writeFileSync(home.edgeVariablesFile, `LONGSHORE_POOL_TOKEN=${settings.poolToken}\n`, { mode: 0o600 });
  const wrangler = join(dirname(createRequire(import.meta.url).resolve('wrangler/package.json')), 'bin', 'wrangler.js');
  const args = [
    'dev',
    ...['--config', join(ROOT, 'infra', 'wrangler.jsonc')],
    ...['--env-file', home.edgeVariablesFile],
    ...['--ip', '127.0.0.1', '--port', String(settings.port), '--inspector-port', '0'],
    ...['--persist-to', home.edgeState],
    ...['--local', '--show-interactive-dev-session=false', '--log-level', 'warn'],
  ];
  return {
    name: 'edge',
    command: process.execPath,
    args: [wrangler, ...args],
    env: {
      ...settings.environment,
      CI: 'true',
      WRANGLER_SEND_METRICS: 'false',
      // Else each start asks the internet where this machine is.
      CLOUDFLARE_CF_FETCH_ENABLED: 'false',
      CLOUDFLARE_HYPERDRIVE_LOCAL_CONNECTION_STRING_HYPERDRIVE: settings.databaseUrl,
    },
    cwd: join(ROOT, 'infra'),
    log: new LogFile(home.log('edge')),
    graceMs: 5000,
  };
}
