import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { objectStoreContract } from '../testing/object-store-contract.ts';
import { createDiskObjectStore } from './disk-object-store.ts';

const folderForTest = () => mkdtemp(join(tmpdir(), 'longshore-disk-store-'));

objectStoreContract('disk', async () => {
  const folder = await folderForTest();
  return { store: createDiskObjectStore(folder), stop: () => rm(folder, { recursive: true }) };
});

test('a key never leaves the folder', async () => {
  const folder = await folderForTest();
  const store = createDiskObjectStore(folder);
  for (const key of ['../outside', '/etc/passwd', 'kv/../../outside', '', '.'])
    await assert.rejects(store.put(key, new Uint8Array(1), 0), { name: 'StoreError', kind: 'unavailable' }, key);
  await rm(folder, { recursive: true });
});

test('a folder that cannot be written is unavailable and leaves nothing behind', async () => {
  const folder = await folderForTest();
  await writeFile(join(folder, 'kv'), 'a file where a folder must be');
  const store = createDiskObjectStore(folder);
  await assert.rejects(store.put('kv/a', new Uint8Array(1), 0), { name: 'StoreError', kind: 'unavailable' });
  assert.deepEqual(await readdir(folder), ['kv']);
  await rm(folder, { recursive: true });
});
