import { Failure, lineProgress, pullModel, readConfig } from '@longshore/infra';
import { startTestPlatform } from '../harness/platform.ts';
import { runDemo } from './demo.ts';
import { brokenPromises, summarize, table } from './report.ts';

/**
 * `npm run demo [-- --json] [-- --small]`: prefill once, kill the worker, resume on another. Starts a platform of its own on free
 * ports in a temporary folder. Exit code 1 when a promise was not kept.
 */
const flags = new Set(process.argv.slice(2));
const unknown = [...flags].find((flag) => !['--json', '--small'].includes(flag));
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const abort = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => abort.abort());
process.on('disconnect', () => abort.abort());
const aborted = new Promise<never>((_, reject) => {
  abort.signal.addEventListener('abort', () => reject(new Failure('stopped')), { once: true });
});
process.channel?.unref();
aborted.catch(() => {});

async function main(): Promise<number> {
  if (unknown) throw new Failure(`no flag ${unknown}; there are --json and --small`);
  const progress = lineProgress(say);
  if (!process.env.LONGSHORE_TEST_MODEL) await pullModel(readConfig(process.env), 'smollm2-135m-instruct', progress);
  say('Starting a platform of its own: database, S3, two workers, edge.');
  await using platform = await startTestPlatform({ model: 'smollm2', workers: 2, progress, signal: abort.signal });
  const result = await Promise.race([aborted, runDemo(platform, flags.has('--small'), say)]);
  const summary = summarize(result);
  say(`\n${table(result, summary)}\n`);
  const broken = brokenPromises(summary);
  for (const promise of broken) say(`NOT KEPT: ${promise}`);
  if (flags.has('--json')) say(JSON.stringify(summary));
  return broken.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  process.stderr.write(`demo: ${error.message}\n`);
  process.exitCode = 1;
}
process.exit();
