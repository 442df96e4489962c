import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Config, ROOT } from '../config.ts';
import { Home } from '../home/home.ts';
import { checkOpens, ENGINE_PROGRAM } from '../models/check-opens.ts';
import { sha256OfFile } from '../models/digest.ts';
import { FIXTURE, findInstalled } from '../models/model-folder.ts';
import { REGISTRY } from '../models/registry.ts';
import { readRun } from '../platform/run-file.ts';
import { answersOk } from '../processes/http-ready.ts';
import type { Check } from './check.ts';

/** The model, the engine and the running edge. */
export function engineChecks(config: Config): Check[] {
  const home = new Home(config.home);
  const pull = `run "npm run longshore -- models pull ${config.model}"`;
  const model = async () => (config.model === FIXTURE.name ? FIXTURE : await findInstalled(home, config.model));
  return [
    {
      name: 'model',
      remedy: pull,
      async run() {
        const installed = await model();
        if (!installed) return { ok: false, detail: `${config.model} is not pulled yet`, remedy: pull };
        const pinned = REGISTRY[installed.name];
        for (const [file, { sha256 }] of Object.entries(installed.record.files)) {
          const path = join(home.models, installed.name, file);
          const expected = pinned?.file === file ? pinned.sha256 : sha256;
          if ((await sha256OfFile(path)) !== expected) {
            return {
              ok: false,
              detail: `${path} has changed`,
              remedy: `remove ${join(home.models, installed.name)} and ${pull}`,
            };
          }
        }
        return { ok: true, detail: `${installed.name}, checksum right` };
      },
    },
    {
      name: 'engine',
      remedy: 'run "npm run build"',
      async run() {
        if (!existsSync(join(ROOT, 'native', 'build', 'longshore.node'))) throw new Error('not built');
        const path = ((await model()) ?? FIXTURE).path;
        await checkOpens(path);
        const prompt = ['--model', path, '--tokens', '1,2,3', '--max', '4'];
        const { stdout } = await promisify(execFile)(ENGINE_PROGRAM, ['generate', ...prompt], { timeout: 120_000 });
        return { ok: stdout.trim() !== '', detail: 'opens the model and generates', remedy: 'run "npm run build"' };
      },
    },
    {
      name: 'edge',
      remedy: 'start it: npm start',
      async run() {
        const run = readRun(home);
        if (!run) return { ok: true, detail: 'not running (npm start)' };
        const ok = await answersOk(`${run.url}/readyz`);
        return { ok, detail: `${run.url} ${ok ? 'is ready' : 'is not ready'}`, remedy: `see ${home.log('edge')}` };
      },
    },
  ];
}
