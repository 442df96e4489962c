import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../../domain/seeded-random.ts';
import { type Candidate, TierIndex } from './tier-index.ts';

const HOUR = 3_600_000;
const open = (more = {}) => new TierIndex({ budgetBytes: 100, pinnedBytes: 50, ttlMs: HOUR, ...more });
const object = (key: string, bytes = 10, cost = bytes): Candidate => ({ key, bytes, cost });

/** Reserves, lets the victims leave, and adds; the victims, or why not. */
function admit(index: TierIndex, candidate: Candidate, now = 0): string[] | string {
  const reservation = index.reserve(candidate);
  if (!reservation.admitted) return reservation.why;
  for (const victim of reservation.victims) index.left(victim);
  assert.ok(index.add(candidate, now));
  index.checkIntegrity();
  return reservation.victims;
}

test('gives up the least of age + uses * cost / bytes, and the longest unused among equals', () => {
  const index = open();
  for (const [key, cost] of [
    ['cheap', 1],
    ['dear', 100],
    ['used', 5],
  ] as const)
    admit(index, object(key, 30, cost));
  for (let use = 0; use < 3; use++) index.touch('used', 1);
  assert.deepEqual(admit(index, object('new', 30, 10), 2), ['cheap']);
  assert.deepEqual(admit(index, object('newer', 30, 12), 3), ['new']);
  const equals = open();
  for (let at = 0; at < 10; at++) admit(equals, object(`${at}`), at);
  equals.touch('0', 20);
  assert.deepEqual(admit(equals, object('next'), 21), ['1']);
});

test('what was used often, long ago, sinks below what is new', () => {
  const index = open();
  admit(index, object('old'), 0);
  for (let use = 0; use < 20; use++) index.touch('old', 1);
  let evictedAt: number | undefined;
  for (let at = 0; at < 1000 && evictedAt === undefined; at++) {
    admit(index, object(`n${at}`), 2 + at);
    if (!index.has('old', 2 + at)) evictedAt = at;
  }
  assert.ok(evictedAt !== undefined && evictedAt > 20, `evicted at ${evictedAt}`);
});

test('a newcomer worth less than what it would displace is refused, but not for ever', () => {
  const index = open();
  for (let at = 0; at < 10; at++) admit(index, object(`dear${at}`, 10, 100));
  let refusals = 0;
  while (typeof admit(index, object('cheap', 10, 30)) === 'string') refusals++;
  assert.equal(refusals, 3);
});

test('bytes count until they are gone, so the budget holds while victims are deleted', () => {
  const index = open();
  admit(index, object('a', 60));
  const reservation = index.reserve(object('b', 60));
  assert.deepEqual(reservation, { admitted: true, victims: ['a'] });
  assert.deepEqual([index.has('a', 0), index.occupies('a'), index.bytes], [false, true, 60]);
  assert.equal(index.add(object('b', 60), 0), false, 'a is still there');
  index.left('a');
  assert.equal(index.add(object('b', 60), 0), true);
  assert.equal(index.bytes, 60);
});

test('pins and reads in progress are never evicted; pins are bounded', () => {
  const index = open();
  for (const key of ['a', 'b', 'c']) admit(index, object(key, 30));
  assert.equal(index.pin('a', 0), true);
  assert.equal(index.pin('b', 0), false, 'more than pins may hold');
  const endRead = index.beginRead('b', 0);
  assert.deepEqual(admit(index, object('d', 40)), ['c']);
  assert.equal(admit(index, object('e', 50)), 'no_room');
  assert.equal(admit(index, object('huge', 101)), 'no_room');
  endRead!();
  index.unpin('a');
  assert.ok(Array.isArray(admit(index, object('e', 50))), 'both may be evicted again');
});

test('time slides on use, ends what is unused, and spares pins', () => {
  const index = open();
  for (const key of ['used', 'unused', 'pinned']) admit(index, object(key, 10));
  index.pin('pinned', 0);
  index.touch('used', HOUR / 2);
  assert.deepEqual(index.expired(HOUR, 10), ['unused']);
  assert.deepEqual([index.has('unused', HOUR), index.has('used', HOUR)], [false, true]);
  assert.deepEqual(index.expired(2 * HOUR, 10).sort(), ['unused', 'used']);
  index.unpin('pinned');
  assert.equal(index.has('pinned', 2 * HOUR), false);
});

test('20,000 random calls never break the budget, a pin or the counts', () => {
  const below = seededRandom(7);
  const index = open({ budgetBytes: 1000, pinnedBytes: 300 });
  const leaving = new Set<string>();
  const pinned = new Map<string, number>();
  const reads: { key: string; end: () => void }[] = [];
  const counts = { admitted: 0, refused: 0, pinned: 0, read: 0 };
  for (let now = 0; now < 20_000; now++) {
    const key = `k${below(60)}`;
    const what = below(9);
    if (what <= 2 && !index.occupies(key)) {
      const candidate = object(key, 1 + below(200), 1 + below(50));
      const reservation = index.reserve(candidate);
      if (!reservation.admitted) counts.refused++;
      else {
        for (const victim of reservation.victims) {
          assert.ok(!pinned.has(victim) && !reads.some((read) => read.key === victim), 'a busy victim');
          leaving.add(victim);
        }
        if (index.add(candidate, now)) counts.admitted++;
      }
    } else if (what === 3) index.touch(key, now);
    else if (what === 4 && index.pin(key, now)) {
      counts.pinned++;
      pinned.set(key, (pinned.get(key) ?? 0) + 1);
    } else if (what === 5 && pinned.size > 0) {
      const [first, held] = [...pinned][0]!;
      index.unpin(first);
      if (held === 1) pinned.delete(first);
      else pinned.set(first, held - 1);
    } else if (what === 6) {
      const end = index.beginRead(key, now);
      if (end) counts.read++;
      if (end) reads.push({ key, end });
    } else if (what === 7) reads.splice(0, 1)[0]?.end();
    else if (what === 8) for (const gone of [...leaving].slice(0, 3)) if (leaving.delete(gone)) index.left(gone);
    index.checkIntegrity();
    for (const held of pinned.keys()) assert.ok(index.has(held, now), `pinned ${held} is gone`);
  }
  assert.ok(
    Object.values(counts).every((count) => count > 200),
    JSON.stringify(counts),
  );
});
