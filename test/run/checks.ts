import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './shell.ts';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Result {
  passed: number;
  failed: number;
  /** Shown when something failed. */
  output: string;
}

interface Check {
  name: string;
  run(env: NodeJS.ProcessEnv): Promise<Result>;
}

const MINUTE = 60_000;
const bin = (name: string): string => join(ROOT, 'node_modules', '.bin', name);

/** A command that passes or fails as a whole. */
const single = (name: string, command: string, args: string[]): Check => ({
  name,
  async run(env) {
    const { status, output } = await run(command, args, { env, timeoutMs: 5 * MINUTE });
    return { passed: status === 0 ? 1 : 0, failed: status === 0 ? 0 : 1, output };
  },
});

/** node:test over these files; every test counts. Finding none is a failure. */
const nodeTests = (name: string, patterns: string[], concurrency: number): Check => ({
  name,
  async run(env) {
    const reporter = join(ROOT, 'test', 'run', 'counts-reporter.ts');
    const flags = [`--test-reporter=${reporter}`, `--test-concurrency=${concurrency}`, '--test-timeout=300000'];
    const { output } = await run(process.execPath, ['--test', ...flags, ...patterns], { env, timeoutMs: 20 * MINUTE });
    const last = /\{"passed":(\d+),"failed":(\d+)\}\s*$/.exec(output);
    if (!last || last[1] === '0') return { passed: 0, failed: 1, output: `${output}\n${name}: no test ran to its end` };
    return { passed: Number(last[1]), failed: Number(last[2]), output };
  },
});

/** Builds the engine's tests and runs them all; with sanitizers, any report of theirs is a failure. */
const nativeTests = (name: string, folder: string, buildFlags: string[], parallel = 1): Check => ({
  name,
  async run(env) {
    const dir = join(ROOT, 'native', folder);
    const built = await run(
      process.execPath,
      [join(ROOT, 'native', 'build.mjs'), '--tests', '--dir', dir, ...buildFlags],
      {
        env,
        timeoutMs: 15 * MINUTE,
      },
    );
    if (built.status !== 0) return { passed: 0, failed: 1, output: built.output };
    const flags = [
      '--test-dir',
      dir,
      '--output-on-failure',
      '--timeout',
      '600',
      '--no-tests=error',
      '--parallel',
      String(parallel),
    ];
    const { output } = await run('ctest', flags, { env, timeoutMs: 15 * MINUTE });
    const summary = /(\d+)% tests passed, (\d+) tests failed out of (\d+)/.exec(output);
    if (!summary) return { passed: 0, failed: 1, output };
    const failed = Number(summary[2]);
    return { passed: Number(summary[3]) - failed, failed, output };
  },
});

const inWorkspaces = (...names: string[]): string[] => names.map((name) => `${name}/**/*.test.ts`);

/** Everything that CI runs, the quick and telling ones first. */
export const CHECKS: Check[] = [
  single('format and lint (biome)', bin('biome'), ['check', '--error-on-warnings', '.']),
  single('types (tsc)', bin('tsc'), ['-b']),
  single('dead code (knip)', bin('knip'), []),
  nodeTests('core, edge, infra (node:test)', ['test/*.test.ts', ...inWorkspaces('core', 'edge', 'infra')], 2),
  // Real engines and databases, with deadlines: one file at a time has the machine to itself.
  nodeTests(
    'database, engine, worker, evaluation (node:test)',
    [...inWorkspaces('db', 'native', 'workers-gpu'), 'test/eval/*.test.ts'],
    1,
  ),
  nodeTests('simulation, timing (node:test)', ['test/{simulation,timing}/**/*.test.ts'], 1),
  nativeTests('engine (ctest)', 'build', []),
  nativeTests('engine under ASan and UBSan (ctest)', 'build/sanitized', ['--no-addon', '--sanitize'], 2),
  nodeTests('end to end (real platform)', ['test/{e2e,harness,contract}/**/*.test.ts'], 1),
  {
    name: 'demo (small)',
    async run(env) {
      const demo = join(ROOT, 'test', 'demo', 'main.ts');
      const { status, output } = await run(process.execPath, [demo, '--small', '--json'], {
        env,
        timeoutMs: 5 * MINUTE,
      });
      return { passed: status === 0 ? 1 : 0, failed: status === 0 ? 0 : 1, output };
    },
  },
];
