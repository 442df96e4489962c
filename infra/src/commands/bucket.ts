import { readConfig } from '../config.ts';
import { Failure } from '../failure.ts';
import { Home } from '../home/home.ts';
import { readRun } from '../platform/run-file.ts';
import { BACKSTOP_DAYS, putLifecycleRule } from '../services/bucket-lifecycle.ts';
import { parseArguments } from './arguments.ts';

/** `longshore bucket [--days N]`: has the object store itself delete what no sweeper found for so long. */
export async function bucket(args: string[]): Promise<number> {
  const flags = parseArguments(args, [{ name: 'days', type: 'string' }]);
  const days = flags.number('days') ?? BACKSTOP_DAYS;
  if (days < 1) throw new Failure('--days needs at least 1');
  const config = readConfig(process.env);
  const store = config.objectStore ?? readRun(new Home(config.home))?.store;
  if (!store) throw new Failure('no object store runs: start the platform (npm start), or set S3_ENDPOINT');
  try {
    await putLifecycleRule(store, days);
  } catch (cause) {
    throw new Failure(`the object store refused the lifecycle rule: ${(cause as Error).message}`, { cause });
  }
  process.stdout.write(
    `objects of ${store.bucket} under kv/ are deleted by the store ${days} days after they were written, whatever used them since\n`,
  );
  return 0;
}
