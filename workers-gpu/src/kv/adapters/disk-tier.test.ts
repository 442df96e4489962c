import assert from 'node:assert/strict';
import {
  appendFile,
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { tierContract } from '../testing/tier-contract.ts';
import { type DiskTierOptions, openDiskTier } from './disk-tier.ts';

const folderForTest = () => mkdtemp(join(tmpdir(), 'longshore-disk-tier-'));

tierContract('disk', 100, async (settings) => {
  const folder = await folderForTest();
  const tier = await openDiskTier({ ...settings, folder, wallClock: settings.now });
  return {
    tier,
    async stop() {
      await tier.close();
      await rm(folder, { recursive: true });
    },
  };
});

const HOUR = 3_600_000;
const BODY = Uint8Array.from({ length: 50_000 }, (_, index) => (index * 7) & 255);

async function withFolder(
  run: (folder: string, open: (more?: Partial<DiskTierOptions>) => ReturnType<typeof openDiskTier>) => Promise<void>,
) {
  const folder = await folderForTest();
  const now = () => performance.now();
  const settings = { folder, budgetBytes: 1_000_000, ttlMs: HOUR, now, wallClock: () => Date.now() };
  try {
    await run(folder, (more = {}) => openDiskTier({ ...settings, ...more }));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
const read = async (tier: Awaited<ReturnType<typeof openDiskTier>>, key: string) => {
  const target = new Uint8Array(BODY.length);
  return (await tier.readInto(key, target)) ? target : undefined;
};

test('what was kept is there after a restart, the longest unused first to go', async () => {
  await withFolder(async (folder, open) => {
    const first = await open();
    for (let at = 0; at < 5; at++) await first.fill(`kv/${at}`, BODY, 10);
    const files = await readdir(folder);
    assert.equal(files.length, 5);
    const old = Date.now() / 1000 - 1800;
    const names = await Promise.all(
      files.map(async (file) => [file, (await readFile(join(folder, file))).toString('latin1')]),
    );
    const fileOf = (key: string) => join(folder, names.find(([, text]) => text!.includes(key))![0]!);
    await utimes(fileOf('kv/3'), old, old);
    const again = await open();
    for (let at = 0; at < 5; at++) assert.deepEqual(await read(again, `kv/${at}`), BODY);
    assert.equal(again.stats().bytes, first.stats().bytes);
    await utimes(fileOf('kv/3'), old, old);
    const smaller = await open({ budgetBytes: 4 * 50_100 });
    assert.deepEqual([smaller.has('kv/3'), smaller.stats().objects], [false, 4]);
    await utimes(fileOf('kv/2'), old, old);
    const shorter = await open({ ttlMs: HOUR / 4 });
    assert.deepEqual(shorter.keys(undefined, 10).sort(), ['kv/0', 'kv/1', 'kv/4']);
    assert.equal((await readdir(folder)).length, 3);
  });
});

test('torn and foreign files are deleted at the start, whole ones kept', async () => {
  await withFolder(async (folder, open) => {
    const tier = await open();
    for (let at = 0; at < 6; at++) await tier.fill(`kv/${at}`, BODY, 10);
    const files = (await readdir(folder)).map((file) => join(folder, file));
    await truncate(files[0]!, 40_000);
    await truncate(files[1]!, 10);
    await appendFile(files[2]!, 'x');
    await writeFile(files[3]!, Buffer.alloc(60_000));
    await writeFile(join(folder, 'notes.txt'), 'mine');
    await writeFile(`${files[4]}.abc.partial`, BODY);
    await mkdir(join(folder, 'folder'));
    const again = await open();
    assert.deepEqual([again.stats().objects, again.stats().badCopies, (await readdir(folder)).length], [2, 7, 2]);
    for (const key of again.keys(undefined, 10)) assert.deepEqual(await read(again, key), BODY);
    again.checkIntegrity();
  });
});

test('a copy damaged while it is held is a miss and is deleted, wherever the damage is', async () => {
  for (const damage of ['first byte', 'key', 'last byte', 'shorter', 'longer', 'gone'] as const)
    await withFolder(async (folder, open) => {
      const tier = await open();
      await tier.fill('kv/a', BODY, 10);
      const [name] = await readdir(folder);
      const path = join(folder, name!);
      const bytes = await readFile(path);
      if (damage === 'first byte') bytes[0]! ^= 1;
      if (damage === 'key') bytes[50]! ^= 1;
      if (damage === 'last byte') bytes[bytes.length - 1]! ^= 1;
      if (damage === 'shorter') await writeFile(path, bytes.subarray(0, bytes.length - 1));
      else if (damage === 'longer') await appendFile(path, 'x');
      else if (damage === 'gone') await rm(path);
      else await writeFile(path, bytes);
      const seen: number[] = [];
      const target = new Uint8Array(BODY.length);
      assert.equal(await tier.readInto('kv/a', target, { onProgress: (filled) => seen.push(filled) }), false, damage);
      assert.ok(!seen.includes(BODY.length), 'a bad copy is never reported as whole');
      assert.equal(tier.has('kv/a'), false);
      assert.equal(await tier.fill('kv/a', BODY, 10), true, 'it can be kept again');
      assert.deepEqual(await read(tier, 'kv/a'), BODY);
      assert.equal(tier.stats().badCopies, 1);
      tier.checkIntegrity();
    });
});

test('a disk that takes no more stops the filling for a while, and nothing else', async () => {
  await withFolder(async (folder, open) => {
    let clock = 0;
    const tier = await open({ now: () => clock });
    await tier.fill('kv/before', BODY, 10);
    await rm(folder, { recursive: true });
    await writeFile(folder, 'a file where the folder was: every write fails');
    assert.equal(await tier.fill('kv/a', BODY, 10), false);
    assert.equal(tier.accepts('kv/b', BODY.length), false, 'not tried again at once');
    assert.equal(tier.stats().fillFailures, 2);
    assert.equal(await read(tier, 'kv/before'), undefined);
    tier.checkIntegrity();
    await rm(folder);
    await mkdir(folder);
    clock += 60_000;
    assert.equal(tier.accepts('kv/b', BODY.length), true);
    assert.equal(await tier.fill('kv/b', BODY, 10), true);
    assert.deepEqual(await read(tier, 'kv/b'), BODY);
  });
});

test('leaves the disk its free space', async () => {
  await withFolder(async (folder, open) => {
    const tier = await open({ minFreeBytes: 2 ** 50 });
    assert.equal(await tier.fill('kv/a', BODY, 10), false);
    assert.deepEqual([tier.stats().fillFailures, tier.stats().bytes, await readdir(folder)], [1, 0, []]);
  });
});

test('files are readable by their owner only', async () => {
  await withFolder(async (folder, open) => {
    await chmod(folder, 0o755);
    const tier = await open({ folder: join(folder, 'tier') });
    await tier.fill('kv/a', BODY, 10);
    const [name] = await readdir(join(folder, 'tier'));
    assert.equal((await stat(join(folder, 'tier'))).mode & 0o777, 0o700);
    assert.equal((await stat(join(folder, 'tier', name!))).mode & 0o777, 0o600);
  });
});
