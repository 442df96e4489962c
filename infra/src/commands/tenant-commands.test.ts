import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createTestDatabase, type TestDatabase } from '@longshore/db/testing';

/** The commands as an operator runs them, each in a process of its own, against a real database. */
const CLI = fileURLToPath(new URL('../cli.ts', import.meta.url));
const OLD = '11'.repeat(32);
const NEW = '22'.repeat(32);
let database: TestDatabase;
let home: string;

before(async () => {
  database = await createTestDatabase();
  home = await mkdtemp(join(tmpdir(), 'longshore-commands-'));
});
after(async () => {
  await database.close();
  await rm(home, { recursive: true, force: true });
});

async function longshore(args: string[], env: Record<string, string> = {}): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [CLI, ...args], {
    env: {
      PATH: process.env.PATH,
      LONGSHORE_HOME: home,
      DATABASE_URL: database.url,
      LONGSHORE_MASTER_KEY: OLD,
      ...env,
    },
    timeout: 60_000,
  });
  return stdout;
}

test('an operator sees organizations, sets quotas, rotates keys, changes the master key and deletes, with a confirmation', async () => {
  await longshore(['keys', 'list']);
  const id = /^(org_\w+) {2}0 of the default bytes/m.exec(await longshore(['organizations', 'list']))?.[1];
  assert.ok(id);
  assert.match(await longshore(['organizations', 'quota', id, '1000000']), /may store 1000000 bytes, and holds 0/);
  assert.match(await longshore(['keys', 'rotate-data', id]), /new data key[\s\S]*chain secret is new/);

  const both = { LONGSHORE_MASTER_KEY: NEW, LONGSHORE_MASTER_KEY_PREVIOUS: OLD };
  assert.match(await longshore(['keys', 'rewrap'], both), /^2 keys are wrapped by the present master key/);
  await assert.rejects(longshore(['keys', 'rewrap']), /LONGSHORE_MASTER_KEY is not the one/);

  await assert.rejects(longshore(['organizations', 'delete', id]), /Add --yes/);
  assert.match(await longshore(['organizations', 'delete', id, '--yes']), /is deleted: 2 keys destroyed/);
});
