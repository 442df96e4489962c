import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

/** The import rules of docs/ARCHITECTURE.md. */
const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SKIPPED = new Set(['node_modules', 'build', '.types', '.wrangler', 'golden']);

/** Workspace -> our workspaces that it may import. */
const ALLOWED: Record<string, string[]> = {
  core: [],
  db: ['core'],
  edge: ['core', 'db'],
  'workers-gpu': ['core', 'db', 'native'],
  native: [],
  infra: ['core', 'db'],
};

/** Third-party packages of core: pure, without I/O. */
const CORE_PACKAGES = ['@noble/hashes', 'zod'];

function filesUnder(folder: string, extensions: string[]): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (SKIPPED.has(entry.name)) return [];
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return filesUnder(path, extensions);
    return extensions.some((extension) => entry.name.endsWith(extension)) ? [path] : [];
  });
}

interface Import {
  file: string;
  specifier: string;
}

function importsOf(path: string): Import[] {
  const source = readFileSync(path, 'utf8');
  const pattern =
    /(?:^|\n)\s*(?:import|export)\s[^'"`;]*?from\s*['"]([^'"]+)['"]|import\s*\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)\s*import\s*['"]([^'"]+)['"]/g;
  return [...source.matchAll(pattern)].map((match) => ({
    file: relative(ROOT, path),
    specifier: (match[1] ?? match[2] ?? match[3])!,
  }));
}

/** Test helpers beside the code (src/testing, *.test.ts) may reach further than the product. */
const isTest = (file: string): boolean => file.endsWith('.test.ts') || file.split(sep).includes('testing');

const products = Object.keys(ALLOWED).flatMap((workspace) =>
  filesUnder(join(ROOT, workspace), ['.ts', '.mjs'])
    .flatMap(importsOf)
    .map((found) => ({ workspace, ...found })),
);

test('the scan sees the code it guards', () => {
  for (const workspace of Object.keys(ALLOWED)) {
    if (workspace === 'core' || workspace === 'native') continue;
    assert.ok(
      products.some((found) => found.workspace === workspace && found.specifier.startsWith('@longshore/core')),
      `${workspace} imports core somewhere`,
    );
  }
});

test('a workspace imports only the workspaces it may, and never by a path out of its folder', () => {
  for (const { workspace, file, specifier } of products) {
    if (specifier.startsWith('@longshore/')) {
      const target = specifier.split('/')[1]!;
      if (isTest(file) && target !== 'edge') continue;
      assert.ok(ALLOWED[workspace]!.includes(target), `${file} imports ${specifier}`);
    }
    if (specifier.startsWith('.') && !isTest(file)) {
      const target = relative(ROOT, join(ROOT, file, '..', specifier)).split(sep)[0];
      assert.equal(target, workspace, `${file} imports ${specifier}`);
    }
  }
});

test('core has no I/O: only its two pure packages', () => {
  for (const { workspace, file, specifier } of products) {
    if (workspace !== 'core' || isTest(file) || specifier.startsWith('.')) continue;
    assert.ok(
      CORE_PACKAGES.some((name) => specifier === name || specifier.startsWith(`${name}/`)),
      `${file} imports ${specifier}`,
    );
  }
});

test('only db/ speaks SQL', () => {
  for (const { workspace, file, specifier } of products) {
    if (workspace === 'db' || isTest(file)) continue;
    assert.ok(!/^(drizzle-orm|postgres|pg)(\/|$)/.test(specifier), `${file} imports ${specifier}`);
  }
});

test('domain/ folders are pure: no I/O packages, no clock, no randomness', () => {
  const domain = Object.keys(ALLOWED)
    .flatMap((workspace) => filesUnder(join(ROOT, workspace), ['.ts']))
    .filter((path) => path.split(sep).includes('domain') && !path.endsWith('.test.ts'));
  assert.ok(domain.length > 0);
  for (const path of domain) {
    const source = readFileSync(path, 'utf8');
    for (const { file, specifier } of importsOf(path)) {
      assert.ok(specifier.startsWith('.') || specifier === '@longshore/core', `${file} imports ${specifier}`);
      assert.ok(!specifier.includes('adapters/'), `${file} imports ${specifier}`);
    }
    assert.doesNotMatch(
      source,
      /\b(Date\.now|new Date\(\)|performance\.now|Math\.random|crypto\.|setTimeout|setInterval|fetch\()/,
      relative(ROOT, path),
    );
  }
});

test('the native layers point downwards: engine knows no Node, kernels know no engine', () => {
  const native = join(ROOT, 'native');
  const sources = (folder: string) => filesUnder(join(native, folder), ['.h', '.cc', '.cu', '.cuh']);
  const includes = (path: string) =>
    [...readFileSync(path, 'utf8').matchAll(/#include\s*[<"]([^>"]+)[>"]/g)].map((match) => match[1]!);
  for (const path of [...sources('engine'), ...sources('kernels'), ...sources('cli')])
    for (const header of includes(path))
      assert.doesNotMatch(header, /napi\.h|node_api|node\.h|^v8|^uv\.h/, relative(ROOT, path));
  for (const path of sources('kernels'))
    for (const header of includes(path)) assert.doesNotMatch(header, /^engine\/|^addon\//, relative(ROOT, path));
  // A header may hold part of it, but one translation unit alone sees N-API.
  const seesNodeApi = (path: string): boolean =>
    includes(path).some((header) =>
      header.startsWith('addon/') ? seesNodeApi(join(native, header)) : /^(napi|node_api)/.test(header),
    );
  const translationUnits = sources('addon').filter((path) => path.endsWith('.cc') && seesNodeApi(path));
  assert.deepEqual(
    translationUnits.map((path) => relative(native, path)),
    [join('addon', 'addon.cc')],
  );
});
