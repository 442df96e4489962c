import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { Failure } from '../failure.ts';
import { silentProgress } from '../progress.ts';
import { chooseFiles, downloadHubFile, type HubAccess, listHubFiles } from './hub.ts';
import { FakeHub } from './testing/fake-hub.ts';

const weights = randomBytes(2_500_000);

describe('pulling from a hub', () => {
  let folder: string;
  let hub: FakeHub;
  let access: HubAccess;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'longshore-hub-'));
    hub = new FakeHub({ 'model.gguf': weights, 'config.json': Buffer.from('{"a": 1}') });
    access = { token: undefined, endpoint: await hub.listen() };
  });
  afterEach(async () => {
    await hub.close();
    await rm(folder, { recursive: true, force: true });
  });
  const file = async (name: string) =>
    (await listHubFiles('owner/name', 'main', access)).find(({ path }) => path === name)!;
  const download = async (name: string) =>
    downloadHubFile('owner/name', 'main', await file(name), join(folder, name), access, silentProgress);

  test('a file arrives whole and verified, in LFS or not', async () => {
    await download('model.gguf');
    await download('config.json');
    assert.ok((await readFile(join(folder, 'model.gguf'))).equals(weights));
    assert.equal(await readFile(join(folder, 'config.json'), 'utf8'), '{"a": 1}');
  });

  test('a part from an earlier run is continued, not fetched again', async () => {
    await writeFile(join(folder, 'model.gguf.part'), weights.subarray(0, 2_000_000));
    await download('model.gguf');
    assert.ok((await readFile(join(folder, 'model.gguf'))).equals(weights));
    const ranges = hub.requests.filter(({ path }) => path.endsWith('.gguf')).map(({ range }) => range);
    assert.deepEqual(ranges, ['bytes=0-0', 'bytes=2000000-2499999']);
  });

  test('a connection that breaks off is taken up where it broke', async () => {
    hub.breakAfter = 1_000_000;
    await download('model.gguf');
    assert.ok((await readFile(join(folder, 'model.gguf'))).equals(weights));
    const starts = hub.requests.map(({ range }) => range).filter((range) => range?.startsWith('bytes=1'));
    assert.equal(starts.length >= 1, true);
  });

  for (const name of ['model.gguf', 'config.json']) {
    test(`bytes that differ from the stated checksum are refused and removed (${name})`, async () => {
      hub.corrupt(name);
      await assert.rejects(download(name), Failure);
      assert.equal(existsSync(join(folder, name)), false);
      assert.equal(existsSync(join(folder, `${name}.part`)), false);
    });
  }

  test('a private repository opens with the token only', async () => {
    hub.token = 'hf_secret';
    await assert.rejects(listHubFiles('owner/name', 'main', access));
    access = { ...access, token: 'hf_secret' };
    assert.equal((await listHubFiles('owner/name', 'main', access)).length, 2);
  });
});

describe('which files make the model', () => {
  const named = (...paths: string[]) => paths.map((path) => ({ path, bytes: 1, sha256: undefined, gitId: undefined }));
  const chosen = (paths: string[], wanted?: string) =>
    chooseFiles('owner/name', named(...paths), wanted).map(({ path }) => path);

  test('a folder with safetensors is taken whole, without what the engine does not read', () => {
    assert.deepEqual(
      chosen(['README.md', 'config.json', 'a.safetensors', 'pytorch_model.bin', 'onnx/m.json', 'chat_template.jinja']),
      ['config.json', 'a.safetensors', 'chat_template.jinja'],
    );
  });
  test('a single GGUF is taken; among several, the person chooses', () => {
    assert.deepEqual(chosen(['README.md', 'x.gguf']), ['x.gguf']);
    assert.throws(() => chosen(['x.gguf', 'y.gguf']), /owner\/name:x\.gguf, owner\/name:y\.gguf/);
    assert.deepEqual(chosen(['x.gguf', 'y.gguf'], 'y.gguf'), ['y.gguf']);
    assert.throws(() => chosen(['x.gguf'], 'z.gguf'), /has no file z\.gguf/);
  });
});
