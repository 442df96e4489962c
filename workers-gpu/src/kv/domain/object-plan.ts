/** How blocks are gathered into objects. */

/** Objects aim at this many stored bytes; one that holds several blocks never exceeds twice as many. */
export const TARGET_OBJECT_BYTES = 8 * 1024 * 1024;

/** Blocks per object: as many as reach the target, at least 1 (a block of a large model is an object of its own). */
export function blocksPerObject(storedBlockBytes: number): number {
  return Math.max(1, Math.min(4096, Math.round(TARGET_OBJECT_BYTES / storedBlockBytes)));
}

/** Consecutive blocks, counted in the publish request. */
export interface BlockRun {
  start: number;
  count: number;
}

/** Splits what is missing of `total` blocks into runs without gaps, each at most `limit` long, in order. */
export function planObjects(total: number, isStored: (index: number) => boolean, limit: number): BlockRun[] {
  const runs: BlockRun[] = [];
  for (let index = 0; index < total; index++) {
    if (isStored(index)) continue;
    const last = runs.at(-1);
    if (last && last.start + last.count === index && last.count < limit) last.count++;
    else runs.push({ start: index, count: 1 });
  }
  return runs;
}
