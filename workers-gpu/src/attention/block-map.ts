import type { BlockMapRow } from '@longshore/native';
import { heatMap } from './heat-map.ts';

/** Most cells of an edge: a long prompt's blocks are joined. */
const EDGE = 64;

/**
 * The block map of one head as an image: rows are query blocks, columns key blocks, dark is mass (its square root, so that small shares
 * show), a frame means that the policy reads the block. Throws when the head has no rows.
 */
export function blockMap(rows: readonly BlockMapRow[], layer: number, head: number): string {
  const own = rows.filter((row) => row.layer === layer && row.head === head);
  if (own.length === 0) throw new Error(`no map of layer ${layer}, head ${head} was measured`);
  const blocks = Math.max(...own.map((row) => row.block)) + 1;
  const join = Math.ceil(blocks / EDGE);
  const edge = Math.ceil(blocks / join);
  const mass = Array.from({ length: edge }, () => Array.from({ length: edge }, () => 0));
  const queries = Array.from({ length: edge }, () => 0);
  const read = Array.from({ length: edge }, () => Array.from({ length: edge }, () => false));
  for (const row of own) {
    const y = Math.floor(row.block / join);
    queries[y]!++;
    for (const [block, share] of row.mass.entries()) {
      const x = Math.floor(block / join);
      mass[y]![x]! += share;
      if (row.read[block] === 1) read[y]![x] = true;
    }
  }
  return heatMap({
    title: `layer ${layer}, head ${head}: where attention lies, and what is read (framed)`,
    x: `key block${join > 1 ? `, ${join} to a cell` : ''}`,
    y: 'query block',
    rows: mass.map((shares, y) =>
      shares.map((share, x) => (x > y || queries[y] === 0 ? null : Math.sqrt(share / queries[y]!))),
    ),
    marked: (y, x) => read[y]![x]!,
  });
}
