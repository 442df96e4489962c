import { parseArgs } from 'node:util';
import { Failure, lineProgress, pullModel, readConfig } from '@longshore/infra';
import { startTestPlatform } from '../harness/platform.ts';
import { runDemo } from './demo.ts';
import { brokenPromises, type Codec, summarize, table } from './report.ts';

/**
 * `npm run demo [-- --json --small --codec lossless|raw|int8|int4]`: prefill once, kill the worker, resume on another. Starts a platform of its
 * own on free ports in a temporary folder. The codec is lossless by default, because the demo promises the very
 * tokens of an uncached run; int8 stores less and promises none. Exit code 1 when a promise was not kept.
 */
const CODECS: readonly string[] = ['lossless', 'raw', 'int8', 'int4'] satisfies Codec[];
function readFlags() {
  try {
    const { values } = parseArgs({
      options: {
        json: { type: 'boolean', default: false },
        small: { type: 'boolean', default: false },
        codec: { type: 'string', default: 'lossless' },
      },
    });
    if (CODECS.includes(values.codec)) return { ...values, codec: values.codec as Codec };
  } catch {}
  throw new Failure('usage: npm run demo -- [--json] [--small] [--codec lossless|raw|int8|int4]');
}
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
  const flags = readFlags();
  const progress = lineProgress(say);
  if (!process.env.LONGSHORE_TEST_MODEL) await pullModel(readConfig(process.env), 'smollm2-135m-instruct', progress);
  say('Starting a platform of its own: database, S3, two workers, edge.');
  await using platform = await startTestPlatform({
    model: 'smollm2',
    workers: 2,
    env: { LONGSHORE_CODEC: flags.codec },
    progress,
    signal: abort.signal,
  });
  const result = await Promise.race([aborted, runDemo(platform, flags.small, say)]);
  const summary = summarize(result);
  say(`\n${table(result, summary, flags.codec)}\n`);
  const broken = brokenPromises(summary, flags.codec);
  for (const promise of broken) say(`NOT KEPT: ${promise}`);
  if (flags.json) say(JSON.stringify(summary));
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
