import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { NewKvBlock } from '@longshore/db';
import type { BlockDirectory } from '../ports.ts';

/** A directory under test, and what the suite needs around it. */
export interface DirectoryBench {
  directory: BlockDirectory;
  /** A new organization. */
  organization(): Promise<string>;
  /** Time passes. */
  advance(seconds: number): Promise<void>;
  setQuota(organizationId: string, bytes: number): Promise<void>;
  heldBytes(organizationId: string): Promise<number>;
  /** Billed until now. */
  byteSeconds(organizationId: string): Promise<number>;
  /** Whatever contradicts itself; empty when all is well. */
  faults(): Promise<string[]>;
  stop(): Promise<void>;
}

const NAMESPACE = new Uint8Array(32).fill(7);
const BYTES = 1000;
const digest = (text: string) => new Uint8Array(createHash('sha256').update(text).digest());

/** What every BlockDirectory promises; memory and Postgres run it alike. */
export function blockDirectoryContract(name: string, open: () => Promise<DirectoryBench>) {
  describe(`block directory contract: ${name}`, () => {
    let bench: DirectoryBench;
    let directory: BlockDirectory;
    let serial = 0;
    before(async () => {
      bench = await open();
      directory = bench.directory;
    });
    after(async () => {
      assert.deepEqual(await bench.faults(), [], 'the directory is whole after all tests');
      await bench.stop();
    });

    const hashesOf = (organizationId: string, chain: string, from: number, count: number, fork = 0) =>
      Array.from({ length: count }, (_, i) => digest(`${organizationId}/${from + i < fork ? '' : chain}/${from + i}`));
    const blocksOf = (organizationId: string, chain: string, from: number, count: number, fork = 0): NewKvBlock[] => {
      const hashes = hashesOf(organizationId, chain, Math.max(0, from - 1), count + Math.min(1, from), fork);
      const parents = from === 0 ? [digest('root'), ...hashes] : hashes;
      const own = from === 0 ? hashes : hashes.slice(1);
      return own.map((hash, index) => ({
        hash,
        parentHash: parents[index]!,
        blockIndex: from + index,
        indexInObject: index,
      }));
    };
    const reserve = (
      organizationId: string,
      blocks: readonly NewKvBlock[],
      options: { ttl?: number; bytes?: number } = {},
    ) => {
      const key = `kv/${organizationId}/${serial++}`;
      const first = blocks[0]?.blockIndex ?? 0;
      return directory
        .reserve({
          key,
          organizationId,
          namespace: NAMESPACE,
          firstToken: 128 * first,
          tokenCount: 128 * blocks.length,
          ...(first > 0 ? { parentHash: blocks[0]!.parentHash } : {}),
          storedBytes: options.bytes ?? BYTES,
          rawBytes: 2 * BYTES,
          codec: 'raw',
          workerId: 'w',
          ttlSeconds: options.ttl ?? 3600,
        })
        .then((reservation) => ({ key, reservation }));
    };
    /** One object with `count` blocks from `from` on. */
    async function publish(
      organizationId: string,
      chain: string,
      from: number,
      count: number,
      options: { ttl?: number; bytes?: number; fork?: number } = {},
    ) {
      const blocks = blocksOf(organizationId, chain, from, count, options.fork);
      const { key, reservation } = await reserve(organizationId, blocks, options);
      assert.ok(reservation.reserved, `${chain}/${from} is reserved`);
      const ready = await directory.markReady(key, blocks);
      return { key, ready, hashes: blocks.map((block) => block.hash), blocks };
    }
    const readable = async (organizationId: string, hashes: readonly Uint8Array[]) => {
      const found = await directory.findBlocks(organizationId, NAMESPACE, hashes);
      return found.filter((row) => row.state === 'ready' && !row.expired).length;
    };
    const goneKeys = (grace = 0) => directory.findDeletable(grace, 500);

    test('a block can be found from ready on, by its own organization only, until it is removed', async () => {
      const organizationId = await bench.organization();
      const blocks = blocksOf(organizationId, 'a', 0, 3);
      const hashes = blocks.map((block) => block.hash);
      const { key } = await reserve(organizationId, blocks);
      assert.equal(await readable(organizationId, hashes), 0);
      assert.deepEqual(await directory.markReady(key, blocks), { taken: 3, orphaned: false });
      assert.equal(await readable(organizationId, hashes), 3);
      assert.equal(await readable(await bench.organization(), hashes), 0);
      assert.deepEqual(await directory.findObject(organizationId, key), { storedBytes: BYTES });
      assert.deepEqual(await directory.removeBlocks(organizationId, hashes), { objects: 1, kept: 0 });
      assert.equal(await readable(organizationId, hashes), 0);
      assert.equal(await directory.findObject(organizationId, key), undefined);
      assert.equal(await directory.markReady(key, blocks), undefined, 'a retired reservation does not come back');
    });

    test('of two objects with the same blocks one stands for them, and the other is retired', async () => {
      const organizationId = await bench.organization();
      const blocks = blocksOf(organizationId, 'race', 0, 4);
      const made = await Promise.all(Array.from({ length: 6 }, () => reserve(organizationId, blocks)));
      const results = await Promise.all(made.map(({ key }) => directory.markReady(key, blocks)));
      assert.deepEqual(results.map((result) => result!.taken).sort(), [0, 0, 0, 0, 0, 4]);
      assert.equal(await bench.heldBytes(organizationId), BYTES);
    });

    test('a quota is never exceeded, however many reserve at once, and reservations count', async () => {
      const organizationId = await bench.organization();
      await bench.setQuota(organizationId, 5 * BYTES);
      const made = await Promise.all(
        Array.from({ length: 20 }, (_, index) => reserve(organizationId, blocksOf(organizationId, `q${index}`, 0, 1))),
      );
      assert.equal(made.filter(({ reservation }) => reservation.reserved).length, 5);
      const refused = made.find(({ reservation }) => !reservation.reserved)!.reservation;
      assert.deepEqual(refused, { reserved: false, reason: 'over_quota', quotaBytes: 5 * BYTES, heldBytes: 5 * BYTES });
      assert.equal(await bench.heldBytes(organizationId), 5 * BYTES);
    });

    test('a full organization gives up its own least recently used leaves, deepest first, and no one else’s', async () => {
      const [organizationId, other] = [await bench.organization(), await bench.organization()];
      await bench.setQuota(organizationId, 4 * BYTES);
      const foreign = await publish(other, 'foreign', 0, 1);
      await bench.advance(10);
      const old = [await publish(organizationId, 'old', 0, 2), await publish(organizationId, 'old', 2, 2)];
      await bench.advance(10);
      const fresh = await publish(organizationId, 'fresh', 0, 1);
      await bench.advance(10);
      await publish(organizationId, 'more', 0, 1);
      const { reservation } = await reserve(organizationId, blocksOf(organizationId, 'next', 0, 1));
      assert.deepEqual(reservation, { reserved: true, evictedObjects: 1, evictedBytes: BYTES });
      assert.deepEqual(
        await Promise.all([old[0]!, old[1]!, fresh].map(({ hashes }) => readable(organizationId, hashes))),
        [2, 0, 1],
      );
      await directory.touch(organizationId, old[0]!.hashes, 3600);
      const again = await reserve(organizationId, blocksOf(organizationId, 'after', 0, 1));
      assert.ok(again.reservation.reserved);
      assert.equal(await readable(organizationId, old[0]!.hashes), 2, 'what was used since is spared');
      assert.equal(await readable(organizationId, fresh.hashes), 0);
      assert.equal(await readable(other, foreign.hashes), 1);
      assert.equal(await bench.heldBytes(organizationId), 4 * BYTES);
    });

    test('what cannot fit evicts nothing: too large, all pinned, or the chain that it continues', async () => {
      const organizationId = await bench.organization();
      await bench.setQuota(organizationId, 2 * BYTES);
      const kept = await publish(organizationId, 'kept', 0, 1);
      const blocks = blocksOf(organizationId, 'big', 0, 1);
      assert.equal((await reserve(organizationId, blocks, { bytes: 2 * BYTES + 1 })).reservation.reserved, false);
      const child = blocksOf(organizationId, 'kept', 1, 1);
      assert.equal((await reserve(organizationId, child, { bytes: 1.5 * BYTES })).reservation.reserved, false);
      await directory.pin(organizationId, kept.hashes.at(-1)!, 'operator');
      assert.equal((await reserve(organizationId, blocks, { bytes: 2 * BYTES })).reservation.reserved, false);
      assert.equal(await readable(organizationId, kept.hashes), 1);
      await directory.unpin(organizationId, 'operator');
      assert.equal((await reserve(organizationId, blocks, { bytes: 2 * BYTES })).reservation.reserved, true);
      assert.equal(await readable(organizationId, kept.hashes), 0);
    });

    test('a chain takes no block without a living parent', async () => {
      const organizationId = await bench.organization();
      const late = await publish(organizationId, 'late', 4, 2);
      assert.deepEqual(late.ready, { taken: 0, orphaned: true });
      assert.equal(await bench.heldBytes(organizationId), 0);
      await publish(organizationId, 'late', 0, 4);
      assert.deepEqual((await publish(organizationId, 'late', 4, 2)).ready, { taken: 2, orphaned: false });
    });

    test('removal keeps what another chain continues, and takes the rest of the chain', async () => {
      const organizationId = await bench.organization();
      const trunk = await publish(organizationId, 'trunk', 0, 2, { fork: 2 });
      const left = await publish(organizationId, 'left', 2, 2, { fork: 2 });
      const right = await publish(organizationId, 'right', 2, 2, { fork: 2 });
      assert.deepEqual([left.ready!.taken, right.ready!.taken], [2, 2]);
      const whole = [...trunk.hashes, ...left.hashes];
      assert.deepEqual(await directory.removeBlocks(organizationId, whole), { objects: 1, kept: 1 });
      assert.deepEqual(
        await Promise.all([left, trunk, right].map((part) => readable(organizationId, part.hashes))),
        [0, 2, 2],
      );
      assert.deepEqual(await directory.removeBlocks(organizationId, trunk.hashes), { objects: 0, kept: 1 });
      const rest = [...trunk.hashes, ...right.hashes];
      assert.deepEqual(await directory.removeBlocks(organizationId, rest), { objects: 2, kept: 0 });
    });

    test('a parent expires no earlier than its child, and time takes a whole chain at once', async () => {
      const organizationId = await bench.organization();
      const parent = await publish(organizationId, 'slide', 0, 2, { ttl: 100 });
      await bench.advance(50);
      const child = await publish(organizationId, 'slide', 2, 2, { ttl: 1000 });
      await bench.advance(990);
      assert.deepEqual(
        [await readable(organizationId, parent.hashes), await readable(organizationId, child.hashes)],
        [2, 2],
      );
      await bench.advance(200);
      assert.deepEqual(
        [await readable(organizationId, parent.hashes), await readable(organizationId, child.hashes)],
        [0, 0],
      );
      assert.equal(await directory.retireExpired(500), 2);
      assert.equal(await bench.heldBytes(organizationId), 0);
    });

    test('each use slides the expiry of the whole used chain, never back', async () => {
      const organizationId = await bench.organization();
      const parts = [
        await publish(organizationId, 'use', 0, 1, { ttl: 100 }),
        await publish(organizationId, 'use', 1, 1, { ttl: 100 }),
      ];
      const hashes = parts.flatMap((part) => part.hashes);
      for (let round = 0; round < 5; round++) {
        await bench.advance(80);
        await directory.touch(organizationId, hashes, 100);
        await directory.touch(organizationId, hashes, 1);
      }
      assert.equal(await readable(organizationId, hashes), 2);
      await directory.touch(organizationId, parts[1]!.hashes, 500);
      await bench.advance(400);
      assert.equal(await readable(organizationId, hashes), 2, 'a child that is used alone keeps its parent');
      await bench.advance(200);
      assert.equal(await readable(organizationId, hashes), 0);
    });

    test('what is pinned, ancestors included, neither expires nor is evicted nor removed, until the last holder lets go', async () => {
      const organizationId = await bench.organization();
      const parts = [
        await publish(organizationId, 'pin', 0, 2, { ttl: 60 }),
        await publish(organizationId, 'pin', 2, 2, { ttl: 60 }),
      ];
      const hashes = parts.flatMap((part) => part.hashes);
      const head = hashes.at(-1)!;
      assert.deepEqual(await directory.pin(organizationId, head, 'one'), { objects: 2, complete: true });
      await directory.pin(organizationId, head, 'two');
      assert.deepEqual(await directory.pin(await bench.organization(), head, 'stranger'), {
        objects: 0,
        complete: false,
      });
      await bench.advance(100_000);
      await directory.retireExpired(500);
      assert.equal(await readable(organizationId, hashes), 4);
      assert.deepEqual(await directory.removeBlocks(organizationId, hashes), { objects: 0, kept: 2 });
      assert.equal(await directory.unpin(organizationId, 'one'), 2);
      await directory.retireExpired(500);
      assert.equal(await readable(organizationId, hashes), 4);
      assert.equal(await directory.unpin(organizationId, 'two'), 2);
      await bench.advance(1);
      assert.equal(await directory.retireExpired(500), 2);
      assert.equal(await readable(organizationId, hashes), 0);
    });

    test('billing runs from ready to removal or expiry, to the second, whenever the sweeper comes', async () => {
      const organizationId = await bench.organization();
      const billed = async () => bench.byteSeconds(organizationId);
      const near = (actual: number, expected: number) =>
        assert.ok(Math.abs(actual - expected) < 20 * BYTES, `billed ${actual}, expected ${expected}`);
      const blocks = blocksOf(organizationId, 'bill', 0, 1);
      const { key } = await reserve(organizationId, blocks, { ttl: 1000 });
      await bench.advance(500);
      near(await billed(), 0);
      await directory.markReady(key, blocks);
      await bench.advance(100);
      near(await billed(), 100 * BYTES);
      const second = await publish(organizationId, 'second', 0, 1, { ttl: 5000 });
      await bench.advance(200);
      near(await billed(), 500 * BYTES);
      await directory.removeBlocks(organizationId, second.hashes);
      const stopped = await billed();
      await bench.advance(5000);
      assert.equal(await directory.retireExpired(500), 1);
      near((await billed()) - stopped, 200 * BYTES);
      const last = await billed();
      await bench.advance(3 * 24 * 3600);
      await directory.foldMeter(48, 100);
      assert.equal(await billed(), last, 'folding into hours changes nothing');
    });

    test('a quarantined parent can be replaced, and its children live on with what replaces it', async () => {
      const organizationId = await bench.organization();
      const parent = await publish(organizationId, 'sick', 0, 2);
      const child = await publish(organizationId, 'sick', 2, 2, { ttl: 9000 });
      await directory.pin(organizationId, child.hashes.at(-1)!, 'holder');
      assert.equal(await directory.quarantine(organizationId, parent.key, 'a flipped bit'), true);
      assert.equal(await directory.quarantine(organizationId, parent.key, 'again'), false);
      assert.equal(await readable(organizationId, parent.hashes), 0);
      const again = await publish(organizationId, 'sick', 0, 2, { ttl: 60 });
      assert.deepEqual(again.ready, { taken: 2, orphaned: false });
      await directory.unpin(organizationId, 'holder');
      await bench.advance(8000);
      assert.deepEqual(
        [await readable(organizationId, again.hashes), await readable(organizationId, child.hashes)],
        [2, 2],
      );
    });

    test('descendants of a quarantined object that nobody replaced are retired, then rows go leaves first', async () => {
      const organizationId = await bench.organization();
      const parent = await publish(organizationId, 'lost', 0, 1);
      const child = await publish(organizationId, 'lost', 1, 1);
      const grandchild = await publish(organizationId, 'lost', 2, 1);
      await directory.quarantine(organizationId, parent.key, 'a flipped bit');
      assert.equal(await directory.retireOrphans(300, 500), 0);
      await bench.advance(400);
      assert.equal((await goneKeys(300)).includes(parent.key), false, 'kept while living blocks need it');
      assert.equal(await directory.retireOrphans(300, 500), 2);
      await bench.advance(400);
      const gone = (await goneKeys(300)).filter((key) => key.startsWith(`kv/${organizationId}/`));
      assert.deepEqual(new Set(gone), new Set([parent.key, child.key, grandchild.key]));
      await directory.deleteRows(gone);
      assert.deepEqual(new Set(await directory.findUnknownKeys(gone)), new Set(gone));
    });

    test('an abandoned reservation frees its space, and cannot become ready afterwards', async () => {
      const organizationId = await bench.organization();
      const blocks = blocksOf(organizationId, 'dead', 0, 1);
      const { key } = await reserve(organizationId, blocks);
      await bench.advance(700);
      assert.ok((await directory.retireAbandoned(600, 500)) >= 1);
      assert.equal(await bench.heldBytes(organizationId), 0);
      assert.equal(await directory.markReady(key, blocks), undefined);
    });

    test('racing publishers, removals, expiry and eviction leave no living block without a living parent', async () => {
      const organizationId = await bench.organization();
      await bench.setQuota(organizationId, 12 * BYTES);
      let seed = 1;
      const random = (below: number) => {
        seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
        return seed % below;
      };
      const actor = async () => {
        for (let turn = 0; turn < 12; turn++) {
          const chain = `r${random(3)}`;
          const from = random(6);
          const action = random(10);
          if (action < 6) {
            const blocks = blocksOf(organizationId, chain, from, 1);
            const { key, reservation } = await reserve(organizationId, blocks, { ttl: 1 + random(50) });
            if (reservation.reserved) await directory.markReady(key, blocks);
          } else if (action < 8) await directory.removeBlocks(organizationId, hashesOf(organizationId, chain, from, 6));
          else if (action === 8)
            await directory.touch(organizationId, hashesOf(organizationId, chain, 0, from + 1), 60);
          else await directory.retireExpired(100);
        }
      };
      await Promise.all(Array.from({ length: 8 }, actor));
      assert.deepEqual(await bench.faults(), []);
      assert.ok((await bench.heldBytes(organizationId)) <= 12 * BYTES);
    });

    const claim = (hashes: Uint8Array[], workerId: string, ttlMs: number, firstBlock = 0) => ({
      hashes,
      firstBlock,
      organizationId: 'org',
      workerId,
      epoch: 'e1',
      ttlMs,
    });

    test('of those that claim a lease at once one has it; it runs out, is renewed, and is released', async () => {
      const hash = Array.from({ length: 4 }, (_, index) => digest(`lease ${serial++}.${index}`));
      const progress = { computedBlocks: 3, blockMs: 20 };
      const observe = (index = 0) => directory.observeLease('org', hash, index);
      const claims = await Promise.all(
        Array.from({ length: 6 }, (_, index) => directory.acquireLease(claim(hash, `w${index}`, 10_000))),
      );
      assert.equal(claims.filter((result) => result === 'acquired').length, 1);
      const holder = (await observe())!;
      const other = claims.find((result) => result !== 'acquired');
      assert.equal(typeof other === 'object' && other.workerId, holder.workerId);
      await bench.advance(8);
      assert.equal(await directory.renewLease(claim(hash, holder.workerId, 10_000), progress), true);
      await bench.advance(8);
      assert.equal((await observe())?.workerId, holder.workerId);
      assert.deepEqual([(await observe(3))?.computedBlocks, (await observe(3))?.blockMs], [3, 20]);
      assert.equal(await directory.observeLease('other org', hash, 0), undefined);
      const inside = await directory.acquireLease(claim(hash, 'late', 10_000, 2));
      assert.equal(inside !== 'acquired' && inside.workerId, holder.workerId, 'it covers the blocks behind its first');
      await bench.advance(8);
      assert.equal(await observe(), undefined);
      assert.equal(await directory.acquireLease(claim(hash, 'next', 10_000)), 'acquired');
      assert.equal(await directory.renewLease(claim(hash, holder.workerId, 10_000), progress), false);
      await directory.releaseLease(claim(hash, holder.workerId, 0));
      assert.equal((await observe())?.workerId, 'next', 'only the holder releases');
      await directory.releaseLease(claim(hash, 'next', 0));
      assert.equal(await observe(), undefined);
      await directory.acquireLease(claim(hash, 'dead', 1000));
      await bench.advance(3600);
      assert.ok((await directory.deleteStaleLeases(500)) >= 1);
    });
  });
}
