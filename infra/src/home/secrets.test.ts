import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { formatApiKey } from '@longshore/core';
import { Failure } from '../failure.ts';
import { Home } from './home.ts';
import { loadSecrets, saveSecrets } from './secrets.ts';

const folder = mkdtempSync(join(tmpdir(), 'longshore-secrets-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('secrets are made once, are readable by their owner only, and stay the same', async () => {
  const home = new Home(join(folder, 'home'));
  await home.create();
  const made = loadSecrets(home);
  const key = formatApiKey(randomBytes(32));
  assert.deepEqual(loadSecrets(home), made);
  assert.equal(statSync(home.secretsFile).mode & 0o777, 0o600);
  saveSecrets(home, { ...made, apiKeys: { org_1: key } });
  assert.deepEqual(loadSecrets(home).apiKeys, { org_1: key });
  assert.equal(statSync(home.secretsFile).mode & 0o777, 0o600);
});

test('two homes share no secret', async () => {
  const [one, other] = await Promise.all(
    ['one', 'other'].map(async (name) => {
      const home = new Home(join(folder, name));
      await home.create();
      return loadSecrets(home);
    }),
  );
  assert.notEqual(one!.masterKey, other!.masterKey);
  assert.notEqual(one!.poolToken, other!.poolToken);
});

test('a damaged file is never replaced: it holds the only key to the stored blocks', async () => {
  const home = new Home(join(folder, 'damaged'));
  await home.create();
  writeFileSync(home.secretsFile, '{"masterKey": "12');
  assert.throws(() => loadSecrets(home), Failure);
  assert.equal(statSync(home.secretsFile).size, 17);
});
