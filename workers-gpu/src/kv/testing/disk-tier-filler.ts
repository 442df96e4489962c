/**
 * Fills, reads and removes objects of a disk tier without end, to be killed at any moment.
 * node disk-tier-filler.ts FOLDER BUDGET_BYTES SEED. Prints a line when the tier is open.
 */
import { seededRandom } from '../../domain/seeded-random.ts';
import { openDiskTier } from '../adapters/disk-tier.ts';
import { bodyOf } from './numbered-body.ts';

const [folder, budget, seed] = process.argv.slice(2);
const below = seededRandom(Number(seed));
const tier = await openDiskTier({
  folder: folder!,
  budgetBytes: Number(budget),
  ttlMs: 3_600_000,
  now: () => performance.now(),
  wallClock: () => Date.now(),
  minFreeBytes: 0,
});
process.stdout.write('open\n');
for (;;) {
  const number = below(40);
  const fills = [tier.fill(`kv/${number}`, bodyOf(number), 1 + below(100))];
  if (below(4) === 0) fills.push(tier.remove(`kv/${below(40)}`).then(() => true));
  await Promise.all(fills);
}
