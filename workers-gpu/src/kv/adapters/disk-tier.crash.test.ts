import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdtemp, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { seededRandom } from '../../domain/seeded-random.ts';
import { bodyOf } from '../testing/numbered-body.ts';
import { openDiskTier } from './disk-tier.ts';

const FILLER = fileURLToPath(new URL('../testing/disk-tier-filler.ts', import.meta.url));
const BUDGET_BYTES = 2_000_000;
const KILLS = 16;
/** A write is short: how many kills it takes until one falls into it depends on the disk. */
const MOST_KILLS = 100;

async function bytesIn(folder: string): Promise<number> {
  const sizes = (await readdir(folder)).map((name) => stat(join(folder, name)).then((file) => file.size));
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** Until a file is being written, or for a second. */
async function unfinishedWrite(folder: string): Promise<void> {
  for (const deadline = Date.now() + 1000; Date.now() < deadline; await new Promise(setImmediate))
    if (readdirSync(folder).some((name) => !name.endsWith('.kv'))) return;
}

test('after SIGKILL at any moment every object is whole or gone, the budget holds, and nothing half-written is left', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'longshore-disk-crash-'));
  const below = seededRandom(11);
  let torn = 0;
  let held = 0;
  try {
    for (let kill = 0; kill < KILLS || (torn === 0 && kill < MOST_KILLS); kill++) {
      const child = spawn(process.execPath, [FILLER, folder, String(BUDGET_BYTES), String(kill)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(child.stdout, 'data');
      if (kill % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 5 + below(120)));
      else await unfinishedWrite(folder);
      child.kill('SIGKILL');
      await once(child, 'exit');
      assert.ok((await bytesIn(folder)) <= BUDGET_BYTES, 'the files themselves never exceed the budget');
      torn += (await readdir(folder)).filter((name) => !name.endsWith('.kv')).length;
      const times = { now: () => performance.now(), wallClock: () => Date.now() };
      const tier = await openDiskTier({
        ...times,
        folder,
        budgetBytes: BUDGET_BYTES,
        ttlMs: 3_600_000,
        minFreeBytes: 0,
      });
      tier.checkIntegrity();
      assert.equal(tier.stats().bytes, await bytesIn(folder), 'the index knows every byte, and nothing else is left');
      for (const key of tier.keys(undefined, 100)) {
        const body = bodyOf(Number(key.slice(3)));
        const target = new Uint8Array(body.length);
        assert.equal(await tier.readInto(key, target), true, key);
        assert.ok(Buffer.from(target).equals(body), key);
        held++;
      }
      await tier.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  assert.ok(held > KILLS, `${held} objects survived`);
  assert.ok(torn > 0, 'some kill fell into a write');
});
