import { Failure, lineProgress, pullModel, readConfig } from '@longshore/infra';
import { CHECKS, ROOT } from './checks.ts';
import { endAll } from './shell.ts';

/**
 * `npm test [-- words]`: every check whose name contains one of the words, or all. The last line is "N passed, N failed": the sum
 * over node:test, CTest and each check that passes or fails as a whole. Exit code 1 when anything failed.
 */
const write = (line: string): void => void process.stdout.write(`${line}\n`);
for (const event of ['SIGINT', 'SIGTERM', 'SIGHUP', 'disconnect'] as const) {
  process.on(event, () => endAll().then(() => process.exit(130)));
}
process.channel?.unref();
process.chdir(ROOT);

let passed = 0;
let failed = 0;
const env: NodeJS.ProcessEnv = { ...process.env, FORCE_COLOR: '0' };
const started = performance.now();
const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)} s`;

try {
  const model = await pullModel(readConfig(process.env), 'smollm2-135m-instruct', lineProgress(write));
  env.LONGSHORE_TEST_MODEL ??= model.path;
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  failed++;
  write(`FAILED  the default model: ${error.message}`);
}

const words = process.argv.slice(2);
const chosen = CHECKS.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)));
for (const check of chosen) {
  const from = performance.now();
  write(`…       ${check.name}`);
  const result = await check.run(env);
  passed += result.passed;
  failed += result.failed;
  if (result.failed > 0) write(result.output.trimEnd());
  const verdict = result.failed === 0 ? 'ok    ' : 'FAILED';
  write(`${verdict}  ${check.name}: ${result.passed} passed, ${result.failed} failed, ${seconds(from)}`);
}
if (chosen.length === 0) {
  write(`no check is named like ${words.join(', ')}; there are: ${CHECKS.map(({ name }) => name).join('; ')}`);
  failed++;
}
write(`in ${seconds(started)}`);
write(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
