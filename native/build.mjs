// Configures and builds the engine into native/build/: `node native/build.mjs [--no-addon] [--tests] [--sanitize] [--dir <folder>]`.
// Plain JavaScript without dependencies: it runs on Node >= 20, before anything else of the repository can.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, linkSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const native = dirname(fileURLToPath(import.meta.url));
const sourceFolders = ['addon', 'cli', 'cmake', 'engine', 'fuzz', 'kernels', 'test'];

class BuildError extends Error {}

/** Builds what is out of date; resolves to { built, seconds, backends }. Throws a BuildError of one line with the remedy. */
export async function build({ addon = true, tests = false, sanitize = false, dir, log = console.log } = {}) {
  const started = Date.now();
  const out = resolve(dir ?? join(native, 'build'));
  const compiler = process.env.CXX ?? 'g++';
  const cuda = cudaCompiler({ sanitize });
  const settings = cmakeSettings({ addon, tests, sanitize, compiler, cuda });
  const stamp = join(out, 'longshore-build.json');
  const backends = cuda === null ? ['cpu'] : ['cpu', cuda.refusal ?? `cuda (nvcc ${cuda.version})`];
  const fingerprint = JSON.stringify({ settings, newest: newestSource() });
  if (readOptional(stamp) === fingerprint && existsSync(join(out, addon ? 'longshore.node' : 'longshore-native'))) {
    return { built: false, seconds: (Date.now() - started) / 1000, backends };
  }

  mkdirSync(out, { recursive: true });
  const unlock = await lock(join(out, 'longshore-build.lock'), log);
  try {
    await configureAndCompile({ out, settings, compiler, log });
    writeFileSync(stamp, fingerprint);
  } finally {
    unlock();
  }
  const seconds = (Date.now() - started) / 1000;
  log(`engine: built in ${seconds.toFixed(1)} s; backends: ${backends.join(', ')}`);
  return { built: true, seconds, backends };
}

async function configureAndCompile({ out, settings, compiler, log }) {
  need('cmake', 'install CMake >= 3.20 (Debian/Ubuntu: apt-get install cmake; macOS: brew install cmake)');
  need(
    compiler,
    'install a C++20 compiler (Debian/Ubuntu: apt-get install g++; macOS: xcode-select --install), or set CXX',
  );
  const generator = present('ninja') ? 'Ninja' : present('make') ? 'Unix Makefiles' : null;
  if (generator === null) throw new BuildError('make is missing: install it (Debian/Ubuntu: apt-get install make)');

  log(`engine: configuring (${generator}, ${compiler})`);
  // A build folder remembers its generator and refuses another one.
  const known =
    /^CMAKE_GENERATOR:INTERNAL=(.*)$/m.exec(readOptional(join(out, 'CMakeCache.txt')) ?? '')?.[1] ?? generator;
  await run('cmake', ['-S', native, '-B', out, '-G', known, ...settings], log);
  const jobs = process.env.LONGSHORE_BUILD_JOBS ?? String(availableParallelism());
  let last = 0;
  await run('cmake', ['--build', out, '--parallel', jobs], log, (line) => {
    const percent = progress(line);
    if (percent === null || percent < last + 10) return;
    last = percent;
    log(`engine: building ${percent} %`);
  });
}

/** One build at a time in a folder; waits for another process's, at most 20 minutes. A dead process's lock counts for nothing. */
async function lock(path, log) {
  const deadline = Date.now() + 20 * 60_000;
  const own = `${path}.${process.pid}`;
  writeFileSync(own, String(process.pid));
  for (let told = false; ; ) {
    try {
      linkSync(own, path); // unlike creating and then writing it, one step that fails where the lock exists
      rmSync(own);
      return () => rmSync(path, { force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw new BuildError(`${path} cannot be written: ${error.message}`);
    }
    const owner = Number(readOptional(path));
    if (!isAlive(owner)) rmSync(path, { force: true });
    else if (Date.now() > deadline)
      throw new BuildError(`process ${owner} has been building for 20 minutes: end it, then try again`);
    else if (!told) {
      told = true;
      log(`engine: waiting for the build of process ${owner}`);
    }
    await new Promise((done) => setTimeout(done, 200));
  }
}

function isAlive(pid) {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function cmakeSettings({ addon, tests, sanitize, compiler, cuda }) {
  const flag = (name, on) => `-D${name}=${on ? 'ON' : 'OFF'}`;
  const settings = [
    '-DCMAKE_BUILD_TYPE=Release',
    `-DCMAKE_CXX_COMPILER=${compiler}`,
    flag('LONGSHORE_ADDON', addon),
    flag('LONGSHORE_TESTS', tests),
    flag('LONGSHORE_SANITIZE', sanitize),
    flag('LONGSHORE_CUDA', cuda?.path !== undefined),
  ];
  if (cuda?.path !== undefined) settings.push(`-DCMAKE_CUDA_COMPILER=${cuda.path}`);
  if (addon) settings.push(`-DLONGSHORE_NAPI_INCLUDE=${napiIncludes().join(';')}`);
  return settings;
}

function napiIncludes() {
  const require = createRequire(import.meta.url);
  try {
    return [
      dirname(require.resolve('node-addon-api/napi.h')),
      join(dirname(require.resolve('node-api-headers/package.json')), 'include'),
    ];
  } catch {
    throw new BuildError('node-addon-api is missing: run "npm install" in the repository first');
  }
}

/** The newest modification among all sources, with their number: a deleted file counts as a change too. */
function newestSource() {
  let newest = statSync(join(native, 'CMakeLists.txt')).mtimeMs;
  let count = 0;
  const visit = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) visit(path);
      else if (/\.(cc|h|cmake|cu|cuh|json)$|^CMakeLists\.txt$/.test(entry.name)) {
        newest = Math.max(newest, statSync(path).mtimeMs);
        count++;
      }
    }
  };
  for (const folder of sourceFolders) if (existsSync(join(native, folder))) visit(join(native, folder));
  return `${newest}:${count}`;
}

/**
 * Where nvcc is and its version; `refusal` instead of `path` when it cannot build the CUDA backend. Null where there is none, or
 * LONGSHORE_CUDA=off says to leave it.
 */
function cudaCompiler({ sanitize }) {
  if (process.env.LONGSHORE_CUDA === 'off') return null;
  const homes = [process.env.CUDA_HOME, process.env.CUDA_PATH, '/usr/local/cuda'].filter(Boolean);
  const candidates = [
    ...(process.env.PATH ?? '').split(':').filter(Boolean),
    ...homes.map((home) => join(home, 'bin')),
  ];
  const folder = candidates.find((place) => existsSync(join(place, 'nvcc')));
  if (folder === undefined) return null;
  const path = join(folder, 'nvcc');
  const said = spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout ?? '';
  const version = /release (\d+\.\d+)/.exec(said)?.[1];
  if (version === undefined) return { refusal: `cuda: ${path} does not say its version` };
  const [major, minor] = version.split('.').map(Number);
  if (major < 12 || (major === 12 && minor < 4))
    return { refusal: `cuda: nvcc ${version} is too old (12.4 or later builds it)` };
  if (sanitize) return { refusal: 'cuda: left out of sanitized builds' };
  return { path, version };
}

function present(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined;
}

function need(command, remedy) {
  if (!present(command)) throw new BuildError(`${command} is missing: ${remedy}`);
}

function readOptional(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : null;
}

/** Percent from "[12/40] Building ..." (ninja) or "[ 30%] Building ..." (make). */
function progress(line) {
  const ninja = /^\[(\d+)\/(\d+)\]/.exec(line);
  if (ninja) return Math.floor((100 * Number(ninja[1])) / Number(ninja[2]));
  const make = /^\[\s*(\d+)%\]/.exec(line);
  return make ? Number(make[1]) : null;
}

/** Runs a command; its output is kept and printed only when it fails. `onLine` sees every line. */
function run(command, args, log, onLine = () => {}) {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const lines = [];
    let rest = '';
    const take = (chunk) => {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop();
      for (const line of parts) {
        onLine(line);
        lines.push(line);
        if (lines.length > 200) lines.shift();
      }
    };
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', take);
    child.on('error', (error) => fail(new BuildError(`${command} cannot be started: ${error.message}`)));
    child.on('close', (status) => {
      if (status === 0) return done();
      for (const line of lines) if (progress(line) === null) log(line);
      if (rest) log(rest);
      fail(new BuildError(`${command} failed with status ${status}: the compiler's words are above`));
    });
  });
}

if (process.argv[1] && import.meta.url === pathToFileURL(resolve(process.argv[1])).href) {
  const args = process.argv.slice(2);
  const at = args.indexOf('--dir');
  try {
    const result = await build({
      addon: !args.includes('--no-addon'),
      tests: args.includes('--tests'),
      sanitize: args.includes('--sanitize'),
      dir: at >= 0 ? args[at + 1] : undefined,
    });
    if (!result.built) console.log(`engine: up to date; backends: ${result.backends.join(', ')}`);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    console.error(`engine: ${error.message}`);
    process.exitCode = 1;
  }
}
