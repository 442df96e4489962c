import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Failure } from '../failure.ts';
import { Child, type ChildSpec, type Exit } from './child.ts';
import { LogFile } from './log-file.ts';
import { OrphanGuard } from './orphan-guard.ts';
import { freePort, portIsFree } from './ports.ts';
import { groupIsAlive } from './process-group.ts';
import { Supervisor } from './supervisor.ts';
import { waitUntil } from './wait-until.ts';

const folder = mkdtempSync(join(tmpdir(), 'longshore-processes-'));
const guard = new OrphanGuard();
after(() => {
  guard.close();
  rmSync(folder, { recursive: true, force: true });
});

let logs = 0;
const shell = (script: string, more: Partial<ChildSpec> = {}): ChildSpec => ({
  name: 'sample',
  command: 'sh',
  args: ['-c', script],
  env: process.env,
  log: new LogFile(join(folder, `${logs++}.log`)),
  ...more,
});
const eventually = async (what: string, condition: () => boolean, ms = 15_000) => {
  const deadline = Date.now() + ms;
  while (!condition()) {
    if (Date.now() > deadline) assert.fail(`not within ${ms} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
};

describe('a child process', () => {
  test('stops with everything that it started', async () => {
    const child = new Child(shell('sleep 600 & sleep 600'), guard);
    await child.stop();
    assert.equal(groupIsAlive(child.group), false);
    assert.equal((await child.exited).signal, 'SIGTERM');
  });

  test('is killed when it ignores the polite signal past its grace period', async () => {
    const child = new Child(shell('trap "" TERM; echo ready; while :; do sleep 1; done', { graceMs: 300 }), guard);
    await eventually('it runs', () => child.lastLines().includes('ready'));
    await child.stop();
    assert.equal((await child.exited).signal, 'SIGKILL');
  });

  test('dies with a parent that is killed with SIGKILL, grandchildren included', async () => {
    const parent = spawn(process.execPath, [
      fileURLToPath(new URL('testing/parent.ts', import.meta.url)),
      join(folder, 'orphan.log'),
    ]);
    const group = Number(await new Promise((done) => parent.stdout.once('data', done)));
    assert.equal(groupIsAlive(group), true);
    parent.kill('SIGKILL');
    await eventually('the group is gone', () => !groupIsAlive(group));
  });

  test('a command that does not exist is a rejection, not a crash', async () => {
    const child = new Child(shell('', { command: join(folder, 'no-such-program') }), guard);
    await assert.rejects(child.exited, { code: 'ENOENT' });
    await child.stop();
  });

  test('waiting for one that ends first fails with its last lines', async () => {
    const child = new Child(shell('echo one; echo two; exit 3'), guard);
    await assert.rejects(
      waitUntil(child, async () => false, 10),
      (error) =>
        error instanceof Failure && /sample ended before it was ready.*\n {2}one\n {2}two$/s.test(error.message),
    );
  });

  test('waiting for one that never gets ready ends after the given seconds', async () => {
    const child = new Child(shell('sleep 600'), guard);
    await assert.rejects(
      waitUntil(child, async () => false, 0.2),
      /was not ready after 0.2 s/,
    );
    await child.stop();
  });
});

describe('the supervisor', () => {
  test('starts a failed process again, and not one that was stopped', async () => {
    const failures: Array<{ exit: Exit; retryInMs: number | undefined }> = [];
    let restarts = 0;
    const supervisor = new Supervisor(shell('sleep 600'), guard, {
      failed: (_child, exit, retryInMs) => failures.push({ exit, retryInMs }),
      restarted: () => restarts++,
    });
    const first = supervisor.current;
    first.kill('SIGKILL');
    await eventually('it runs again', () => restarts === 1);
    assert.deepEqual(failures, [{ exit: { status: null, signal: 'SIGKILL' }, retryInMs: 500 }]);
    assert.notEqual(supervisor.current.group, first.group);
    await supervisor.stop('SIGKILL');
    await new Promise((done) => setTimeout(done, 700));
    assert.equal(restarts, 1);
    await supervisor.start();
    assert.equal(supervisor.current.alive, true);
    await supervisor.stop();
  });

  test('waits longer after each failure', async () => {
    const pauses: Array<number | undefined> = [];
    const supervisor = new Supervisor(shell('exit 1'), guard, {
      failed: (_child, _exit, retryInMs) => pauses.push(retryInMs),
      restarted: () => {},
    });
    await eventually('three failures', () => pauses.length === 3);
    await supervisor.stop();
    assert.deepEqual(pauses, [500, 1000, 2000]);
  });
});

test('a log larger than 16 MiB is moved aside when it is opened again', () => {
  const log = new LogFile(join(folder, 'large.log'));
  writeFileSync(log.path, Buffer.alloc((16 << 20) + 1));
  log.open();
  assert.equal(log.size(), 0);
  assert.equal(new LogFile(`${log.path}.1`).size(), (16 << 20) + 1);
});

test('a port in use is seen as such', async () => {
  const port = await freePort();
  assert.equal(await portIsFree(port), true);
  const { createServer } = await import('node:http');
  const server = createServer().listen(port, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  assert.equal(await portIsFree(port), false);
  server.close();
});
