import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('./build.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'longshore-build-'));
after(() => rmSync(folder, { recursive: true }));

interface Outcome {
  status: number;
  text: string;
}

function runBuild(args: string[], env: Record<string, string | undefined> = process.env): Promise<Outcome> {
  return new Promise((done) => {
    execFile(process.execPath, [script, ...args], { env, timeout: 120_000 }, (error, stdout, stderr) => {
      done({ status: error === null ? 0 : Number(error.code ?? -1), text: stdout + stderr });
    });
  });
}

/** A PATH that holds only the named tools. */
function pathWith(...tools: string[]): string {
  const bin = mkdtempSync(join(folder, 'bin-'));
  for (const tool of tools) {
    const found = ['/usr/bin', '/bin', '/usr/local/bin', '/opt/homebrew/bin'].find((place) =>
      existsSync(join(place, tool)),
    );
    if (found !== undefined) symlinkSync(join(found, tool), join(bin, tool));
  }
  return bin;
}

test('is done in under a second when nothing has changed', async () => {
  await runBuild([]);
  const start = performance.now();
  const { status, text } = await runBuild([]);
  assert.equal(status, 0);
  assert.match(text, /^engine: up to date; backends: cpu/);
  assert.ok(performance.now() - start < 1000);
});

test('says in one line what is missing and how to get it', async () => {
  const dir = join(folder, 'nothing');
  for (const [tools, message] of [
    [['g++', 'make'], /^engine: cmake is missing: install CMake .*apt-get install cmake/],
    [['cmake', 'make'], /^engine: g\+\+ is missing: install .*apt-get install g\+\+/],
    [['cmake', 'g++'], /^engine: make is missing: install it .*apt-get install make/],
  ] as const) {
    const { status, text } = await runBuild(['--dir', dir], { PATH: pathWith(...tools) });
    assert.equal(status, 1);
    assert.match(text, message);
    assert.equal(text.trim().split('\n').length, 1);
  }
});

test('a dead process’s lock does not stop a build, a living one’s does', async () => {
  const dir = mkdtempSync(join(folder, 'locked-'));
  const lock = join(dir, 'longshore-build.lock');
  const env = { PATH: pathWith('g++', 'make') };
  writeFileSync(lock, '999999999');
  assert.match((await runBuild(['--dir', dir], env)).text, /cmake is missing/);
  assert.ok(!existsSync(lock));
  writeFileSync(lock, String(process.pid));
  const waiting = runBuild(['--dir', dir], env);
  await new Promise((done) => setTimeout(done, 1500));
  rmSync(lock);
  const { text } = await waiting;
  assert.match(text, new RegExp(`waiting for the build of process ${process.pid}`));
  assert.match(text, /cmake is missing/);
});
