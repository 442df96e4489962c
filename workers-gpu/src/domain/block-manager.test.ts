import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockManager } from './block-manager.ts';
import { seededRandom } from './seeded-random.ts';

test('gives no more blocks than exist and takes them all back', () => {
  const blocks = new BlockManager(3);
  const all = blocks.allocate(3)!;
  assert.deepEqual([...all].sort(), [0, 1, 2]);
  assert.equal(blocks.allocate(1), undefined);
  blocks.release(all);
  assert.equal(blocks.available, 3);
  blocks.checkIntegrity();
});

test('keeps released hashed blocks findable until space is needed, then evicts the least recently used', () => {
  const blocks = new BlockManager(2);
  const [first] = blocks.allocate(1)!;
  const [second] = blocks.allocate(1)!;
  blocks.register(first!, 'a');
  blocks.register(second!, 'b');
  blocks.release([first!]);
  blocks.release([second!]);
  assert.deepEqual(blocks.residentPrefix(['a']), [first]);
  blocks.retain([first!]);
  blocks.release([first!]);
  blocks.allocate(1);
  assert.ok(blocks.holds('a'), 'the block used last stays');
  assert.ok(!blocks.holds('b'));
  assert.equal(blocks.evictionCount, 1);
  blocks.checkIntegrity();
});

test('evicts the end of a chain before its beginning', () => {
  const blocks = new BlockManager(3);
  const chain = blocks.allocate(3)!;
  chain.forEach((block, index) => {
    blocks.register(block, `h${index}`);
  });
  blocks.release(chain);
  blocks.allocate(1);
  assert.equal(blocks.residentPrefix(['h0', 'h1', 'h2']).length, 2);
});

test('keeps the first holder of a hash and leaves a duplicate private', () => {
  const blocks = new BlockManager(2);
  const [first, second] = blocks.allocate(2)!;
  assert.ok(blocks.register(first!, 'a'));
  assert.ok(!blocks.register(second!, 'a'));
  assert.deepEqual(blocks.residentPrefix(['a']), [first]);
  blocks.release([first!, second!]);
  assert.equal(blocks.cachedCount, 1);
  blocks.checkIntegrity();
});

test('hands a partial block to one owner only', () => {
  const blocks = new BlockManager(2);
  const [tail] = blocks.allocate(1)!;
  blocks.register(tail!, 'tail');
  assert.equal(blocks.takePartial('tail'), undefined, 'still referenced');
  blocks.release([tail!]);
  assert.equal(blocks.takePartial('tail'), tail);
  assert.equal(blocks.takePartial('tail'), undefined);
  assert.ok(!blocks.holds('tail'));
  blocks.checkIntegrity();
});

test('refuses a double release and a retain of a free block', () => {
  const blocks = new BlockManager(1);
  const held = blocks.allocate(1)!;
  blocks.release(held);
  assert.throws(() => blocks.release(held), /released more often/);
  assert.throws(() => blocks.retain(held), /free/);
});

/** The naive twin: lists and linear searches, no clever state. */
class NaiveBlocks {
  held: Array<{ hash: string | undefined; references: number }> = [];
  release(entry: { references: number }): void {
    entry.references--;
  }
  referencedCount(): number {
    return this.held.filter((entry) => entry.references > 0).length;
  }
}

for (let seed = 1; seed <= 20; seed++) {
  test(`stays whole and agrees with the naive twin under random use, seed ${seed}`, () => {
    const random = seededRandom(seed);
    const capacity = 1 + random(24);
    const blocks = new BlockManager(capacity);
    const naive = new NaiveBlocks();
    const owned: Array<{ block: number; entry: { hash: string | undefined; references: number } }> = [];
    for (let step = 0; step < 400; step++) {
      const action = random(5);
      if (action === 0) {
        const count = random(4);
        const given = blocks.allocate(count);
        assert.equal(given !== undefined, count <= capacity - naive.referencedCount());
        for (const block of given ?? []) {
          const entry = { hash: undefined, references: 1 };
          naive.held.push(entry);
          owned.push({ block, entry });
        }
      } else if (action === 1 && owned.length > 0) {
        const [gone] = owned.splice(random(owned.length), 1);
        blocks.release([gone!.block]);
        naive.release(gone!.entry);
      } else if (action === 2 && owned.length > 0) {
        const one = owned[random(owned.length)]!;
        const hash = `h${random(12)}`;
        if (one.entry.hash === undefined && blocks.register(one.block, hash)) one.entry.hash = hash;
      } else if (action === 3) {
        const found = blocks.residentPrefix([`h${random(12)}`]);
        blocks.retain(found);
        for (const block of found) {
          const known = owned.find((other) => other.block === block);
          if (known === undefined) {
            const entry = { hash: 'cached', references: 1 };
            naive.held.push(entry);
            owned.push({ block, entry });
          } else {
            known.entry.references++;
            owned.push({ block, entry: known.entry });
          }
        }
      }
      blocks.checkIntegrity();
      assert.equal(blocks.available, capacity - naive.referencedCount());
      const distinct = new Set(owned.map((one) => one.block));
      assert.equal(distinct.size, naive.referencedCount());
    }
  });
}
