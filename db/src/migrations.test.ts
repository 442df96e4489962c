import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const FOLDER = fileURLToPath(new URL('..', import.meta.url));
const drizzleKit = join(dirname(createRequire(import.meta.url).resolve('drizzle-kit')), 'bin.cjs');

test('the migrations bring a database to exactly the schema of schema.ts', async () => {
  const copy = await mkdtemp(join(tmpdir(), 'longshore-migrations-'));
  try {
    await cp(join(FOLDER, 'migrations'), copy, { recursive: true });
    const before = await readdir(copy);
    const out = `./${relative(FOLDER, copy)}`;
    const args = [drizzleKit, 'generate', '--dialect=postgresql', '--schema=./src/schema.ts', `--out=${out}`];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: FOLDER });
    assert.match(stdout, /No schema changes/, 'run "npm run -w db generate" and commit the migration');
    assert.deepEqual(await readdir(copy), before);
  } finally {
    await rm(copy, { recursive: true });
  }
});
