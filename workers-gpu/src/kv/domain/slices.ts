import { BLOCK_TOKENS, equalBytes, toHex } from '@longshore/core';

/** Consecutive wanted blocks that lie in one stored object. */
export interface ObjectSlice {
  key: string;
  /** Index in the chain of the first wanted block. */
  firstBlock: number;
  /** h of each wanted block, in order. */
  hashes: Uint8Array[];
  /** h of the block before the first wanted one; the tenant's root for block 0. */
  parentHash: Uint8Array;
  /** Position of the first wanted block inside the object. */
  indexInObject: number;
  /** Blocks the object holds. */
  objectBlocks: number;
  /** Bytes that a restore reads: the whole object, whatever share of it is wanted. */
  storedBytes: number;
  /** The wanted blocks in the engine's dtype. */
  rawBytes: number;
}

/** The longest run of stored blocks from the chain's start that the directory holds, from the first asked block on. */
export interface Hit {
  slices: ObjectSlice[];
  /** Blocks covered, counted from `from`. */
  blockCount: number;
  storedBytes: number;
  /** Why the run ended before the last asked hash. `never_seen`: no row that ever counted; the others: there was one. */
  endedBy: 'complete' | 'never_seen' | 'expired' | 'evicted' | 'deleted' | 'quarantined';
}

/** A directory row, as far as reading needs it. */
export interface DirectoryRow {
  hash: Uint8Array;
  objectKey: string;
  indexInObject: number;
  state: 'reserved' | 'ready' | 'quarantined' | 'tombstone';
  expired: boolean;
  /** Why a tombstone is one. */
  retiredReason?: string | null;
  objectFirstToken: number;
  objectTokenCount: number;
  storedBytes: number;
}

export interface ChainWindow {
  /** h(0) … of the whole chain. */
  hashes: readonly Uint8Array[];
  root: Uint8Array;
  /** First wanted block. */
  from: number;
  /** Raw bytes of one block over all layers. */
  rawBlockBytes: number;
}

/**
 * Walks the chain from the first wanted block while each block is readable, and gathers neighbours of one object into slices.
 * A row whose position contradicts the chain ends the walk like a missing one.
 */
export function sliceRun(window: ChainWindow, rows: readonly DirectoryRow[]): Hit {
  const byHash = new Map(rows.map((row) => [toHex(row.hash), row]));
  const slices: ObjectSlice[] = [];
  let endedBy: Hit['endedBy'] = 'complete';
  let index = window.from;
  for (; index < window.hashes.length; index++) {
    const hash = window.hashes[index]!;
    const row = byHash.get(toHex(hash));
    if (!row || row.objectFirstToken + row.indexInObject * BLOCK_TOKENS !== index * BLOCK_TOKENS) {
      endedBy = 'never_seen';
      break;
    }
    if (row.state !== 'ready' || row.expired) {
      endedBy = reasonOf(row);
      break;
    }
    const last = slices.at(-1);
    if (last?.key === row.objectKey && last.indexInObject + last.hashes.length === row.indexInObject) {
      last.hashes.push(hash);
      last.rawBytes += window.rawBlockBytes;
      continue;
    }
    slices.push({
      key: row.objectKey,
      firstBlock: index,
      hashes: [hash],
      parentHash: index === 0 ? window.root : window.hashes[index - 1]!,
      indexInObject: row.indexInObject,
      objectBlocks: row.objectTokenCount / BLOCK_TOKENS,
      storedBytes: row.storedBytes,
      rawBytes: window.rawBlockBytes,
    });
  }
  return {
    slices,
    blockCount: index - window.from,
    storedBytes: slices.reduce((sum, slice) => sum + slice.storedBytes, 0),
    endedBy,
  };
}

/** A reservation, or what was given up before it counted, was never there to be read. */
function reasonOf({ state, retiredReason }: DirectoryRow): Hit['endedBy'] {
  if (state === 'quarantined') return 'quarantined';
  if (state === 'ready') return 'expired';
  if (state === 'reserved') return 'never_seen';
  if (retiredReason === 'evicted') return 'evicted';
  if (retiredReason === 'removed') return 'deleted';
  return retiredReason === 'expired' ? 'expired' : 'never_seen';
}

/** The header of a slice's object as the chain demands it; a reason when it is not. */
export function contradictsSlice(
  slice: ObjectSlice,
  header: {
    firstToken: number;
    tokenCount: number;
    partial: boolean;
    parentHash: Uint8Array;
    blockHashes: Uint8Array[];
  },
): string | undefined {
  if (header.partial) return 'a partial object stands in the shared chain';
  if (header.firstToken !== (slice.firstBlock - slice.indexInObject) * BLOCK_TOKENS) return 'first token differs';
  if (header.blockHashes.length !== slice.objectBlocks) return 'block count differs from the directory';
  if (slice.indexInObject + slice.hashes.length > header.blockHashes.length) return 'fewer blocks than asked';
  const parent = slice.indexInObject === 0 ? header.parentHash : header.blockHashes[slice.indexInObject - 1]!;
  if (!equalBytes(parent, slice.parentHash)) return 'parent hash differs';
  const wrong = slice.hashes.findIndex(
    (hash, index) => !equalBytes(hash, header.blockHashes[slice.indexInObject + index]!),
  );
  return wrong < 0 ? undefined : `hash of block ${slice.firstBlock + wrong} differs`;
}
