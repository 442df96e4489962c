import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FIXTURE, freePort } from '@longshore/infra';

const CLI = fileURLToPath(new URL('../../infra/src/cli.ts', import.meta.url));

/** `longshore start` as a person runs it; starts and stops of one home folder, in order. */
describe('longshore start', () => {
  let home: string;
  let port: number;
  let model: string;
  const running = new Set<ChildProcess>();

  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'longshore-start-'));
    await chmod(home, 0o755);
    port = await freePort();
    model = FIXTURE.name;
  });
  afterEach(() => {
    for (const child of running) child.kill('SIGKILL');
    running.clear();
  });
  after(() => rm(home, { recursive: true, force: true }));

  function longshore(...args: string[]) {
    const environment = Object.entries(process.env).filter(
      ([name]) => !/^(NODE_|LONGSHORE_|S3_|DATABASE_URL)/.test(name),
    );
    const child = spawn(process.execPath, [CLI, ...args], {
      env: {
        ...Object.fromEntries(environment),
        LONGSHORE_HOME: home,
        LONGSHORE_PORT: String(port),
        LONGSHORE_MODEL: model,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    running.add(child);
    let output = '';
    const keep = (chunk: string) => {
      output += chunk;
    };
    child.stdout.setEncoding('utf8').on('data', keep);
    child.stderr.setEncoding('utf8').on('data', keep);
    const exited = new Promise<number | null>((resolve) => child.on('close', resolve));
    return { child, exited, output: () => output };
  }

  async function startReady() {
    const started = performance.now();
    const run = longshore('start');
    while (!run.output().includes('Ctrl-C stops everything.')) {
      assert.equal(run.child.exitCode, null, run.output());
      assert.ok(performance.now() - started < 120_000, run.output());
      await new Promise((done) => setTimeout(done, 50));
    }
    const key = /lsk_live_\w+/.exec(run.output())![0];
    return { ...run, key, seconds: (performance.now() - started) / 1000 };
  }

  /** Every process that mentions this home in its arguments or environment, zombies aside. */
  async function survivors(): Promise<string[]> {
    const found: string[] = [];
    for (const pid of await readdir('/proc')) {
      if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
      const [args, environment] = await Promise.all(
        ['cmdline', 'environ'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8').catch(() => '')),
      );
      if (args!.includes(home) || environment!.includes(`LONGSHORE_HOME=${home}`)) found.push(`${pid} ${args}`);
    }
    return found;
  }

  async function untilNoneIsLeft(seconds: number): Promise<void> {
    const deadline = Date.now() + seconds * 1000;
    for (let left = await survivors(); left.length > 0; left = await survivors()) {
      assert.ok(Date.now() < deadline, `still running:\n${left.join('\n')}`);
      await new Promise((done) => setTimeout(done, 100));
    }
  }

  let firstKey: string;

  test('answers the very curl line that it prints, and Ctrl-C leaves no process behind', async () => {
    const { child, exited, output, key } = await startReady();
    firstKey = key;
    const line = /^ {2}(curl .*)$/m.exec(output())![1]!;
    const curl = spawn('sh', ['-c', `${line} --silent`], { stdio: ['ignore', 'pipe', 'inherit'] });
    let answer = '';
    curl.stdout.setEncoding('utf8').on('data', (chunk) => {
      answer += chunk;
    });
    await new Promise((done) => curl.on('close', done));
    assert.ok(JSON.parse(answer).choices[0].message.content.length > 0, answer);
    assert.equal(statSync(join(home, 'secrets.json')).mode & 0o777, 0o600);
    child.kill('SIGINT');
    assert.equal(await exited, 130);
    await untilNoneIsLeft(1);
  });

  test('a second start is ready within 15 seconds, with the same key', async () => {
    const { child, exited, key, seconds } = await startReady();
    assert.equal(key, firstKey);
    assert.ok(seconds < 15, `${seconds} s`);

    const third = longshore('start');
    assert.equal(await third.exited, 1);
    assert.match(
      third.output(),
      /a platform runs on .* already \(process \d+, http:.*\): stop it, or choose another LONGSHORE_HOME/,
    );

    const status = longshore('status');
    assert.equal(await status.exited, 0, status.output());
    assert.match(status.output(), /ok +edge/);
    assert.match(status.output(), /ok +worker-2/);

    child.kill('SIGTERM');
    assert.equal(await exited, 0);
    await untilNoneIsLeft(1);
  });

  test('SIGKILL leaves no process behind either, midway or when all runs', async () => {
    const midway = longshore('start');
    while (!midway.output().includes('local S3:')) await new Promise((done) => setTimeout(done, 20));
    midway.child.kill('SIGKILL');
    await untilNoneIsLeft(15);

    const { child } = await startReady();
    child.kill('SIGKILL');
    await untilNoneIsLeft(15);
  });

  test('a signal midway stops what was started', async () => {
    const { child, exited, output } = longshore('start');
    while (!output().includes('local S3:')) await new Promise((done) => setTimeout(done, 20));
    child.kill('SIGINT');
    assert.equal(await exited, 130);
    await untilNoneIsLeft(1);
  });

  test('a busy port is one line with the remedy', async () => {
    const { createServer } = await import('node:http');
    const server = createServer().listen(port, '127.0.0.1');
    const run = longshore('start');
    assert.equal(await run.exited, 1);
    server.close();
    const last = run.output().trim().split('\n').at(-1)!;
    assert.equal(
      last,
      `longshore: port ${port} is in use: stop what uses it, or choose another with --port or LONGSHORE_PORT`,
    );
  });

  test('a worker that cannot start is reported with its last lines, and nothing is left', async () => {
    model = join(home, 'no-such-model.gguf');
    const run = longshore('start');
    assert.equal(await run.exited, 1);
    assert.match(run.output(), /longshore: no model ".*no-such-model\.gguf"/);
    await untilNoneIsLeft(1);
    assert.doesNotMatch(readFileSync(join(home, 'secrets.json'), 'utf8'), /undefined/);
  });
});
