import { readConfig } from '../config.ts';
import { Home } from '../home/home.ts';
import { loadSecrets } from '../home/secrets.ts';
import { readRun } from '../platform/run-file.ts';
import { answersOk } from '../processes/http-ready.ts';

const write = (line: string): void => void process.stdout.write(`${line}\n`);

/** `longshore status`: what runs on this home; exit code 1 when nothing does or a part does not answer. */
export async function status(): Promise<number> {
  const home = new Home(readConfig(process.env).home);
  const run = readRun(home);
  if (!run) {
    write(`nothing runs on ${home.folder}`);
    return 1;
  }
  write(`running on ${home.folder} (process ${run.pid}), model ${run.model}`);
  const parts = [
    { name: 'edge', url: run.url, healthy: await answersOk(`${run.url}/readyz`).catch(() => false), load: '' },
    ...(await Promise.all(
      run.workers.map(async ({ id, url }) => ({
        name: id,
        url,
        healthy: await answersOk(`${url}/healthz`).catch(() => false),
        load: await load(url, loadSecrets(home).poolToken),
      })),
    )),
  ];
  for (const { name, url, healthy, load } of parts)
    write(`  ${healthy ? 'ok  ' : 'FAIL'} ${name.padEnd(10)} ${url}  ${load}`);
  return parts.every(({ healthy }) => healthy) ? 0 : 1;
}

interface Stats {
  load: { running: number; waiting: number };
  blocks: { cached: number; total: number };
}

async function load(url: string, poolToken: string): Promise<string> {
  try {
    const response = await fetch(`${url}/stats`, {
      headers: { authorization: `Bearer ${poolToken}` },
      signal: AbortSignal.timeout(2000),
    });
    const { load, blocks } = (await response.json()) as Stats;
    return `${load.running} running, ${load.waiting} waiting, ${blocks.cached} of ${blocks.total} blocks hold a cached prefix`;
  } catch {
    return '';
  }
}
