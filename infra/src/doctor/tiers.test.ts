import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readConfig } from '../config.ts';
import { runCheck } from './check.ts';
import { checkTiers } from './tiers.ts';

const find = (env: Record<string, string>) =>
  runCheck({ name: 'cache tiers', remedy: 'another folder', run: () => checkTiers(readConfig(env)) });

test('says where the disk tier lies and how much it may take, and leaves nothing there', async () => {
  const home = await mkdtemp(join(tmpdir(), 'longshore-doctor-'));
  const { ok, detail } = await find({ LONGSHORE_HOME: home, LONGSHORE_DISK_TIER_BYTES: String(2 ** 30) });
  assert.ok(ok, detail);
  assert.match(detail, /tiers: writable, [\d.]+ GiB free, 2\.0 GiB wanted at most/);
  assert.deepEqual(await readdir(join(home, 'tiers')), []);
  await rm(home, { recursive: true });
});

test('names the variable that is wrong, and what to do', async () => {
  const home = await mkdtemp(join(tmpdir(), 'longshore-doctor-'));
  await writeFile(join(home, 'file'), '');
  const cases: [Record<string, string>, RegExp][] = [
    [{ LONGSHORE_HOST_TIER_BYTES: 'much' }, /LONGSHORE_HOST_TIER_BYTES/],
    [{ LONGSHORE_HOST_TIER_BYTES: String(2 ** 50) }, /LONGSHORE_HOST_TIER_BYTES/],
    [{ LONGSHORE_DISK_TIER_FOLDER: join(home, 'file', 'below') }, /another folder/],
  ];
  for (const [env, expected] of cases) {
    const { ok, remedy } = await find({ LONGSHORE_HOME: home, ...env });
    assert.equal(ok, false);
    assert.match(remedy!, expected);
  }
  await rm(home, { recursive: true });
});
