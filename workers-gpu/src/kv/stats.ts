import type { FaultKind } from './outcome.ts';
import type { TierStats } from './ports.ts';

/** Counters since start (blocks, bytes, milliseconds) and three gauges. */
export interface KvStoreStats {
  lookups: number;
  lookupBlocksAsked: number;
  lookupBlocksHit: number;
  restoredBlocks: number;
  restoredBytes: number;
  restoreMs: number;
  /** Of the engine's time, what verifying checksums and opening seals took, and what decoding into the pool did. */
  sealMs: number;
  importMs: number;
  publishedBlocks: number;
  /** Blocks whose publish found them stored already, or lost the race against another worker. */
  duplicateBlocks: number;
  publishedBytes: number;
  publishedRawBytes: number;
  publishMs: number;
  droppedBlocks: number;
  quarantinedObjects: number;
  /** Of the publishing organization's own, to stay within its quota. */
  evictedObjects: number;
  evictedBytes: number;
  leasesAcquired: number;
  leasesHeldByOthers: number;
  leasesLost: number;
  faults: Record<FaultKind, number>;
  /** Gauge: blocks waiting to be exported. */
  publishQueueBlocks: number;
  /** Gauge: publishes of objects in progress. */
  publishesRunning: number;
  /** Gauge. */
  storeBreakerOpen: boolean;
  /** Nearest first. */
  tiers: TierStats[];
}

export function emptyStats(): KvStoreStats {
  return {
    lookups: 0,
    lookupBlocksAsked: 0,
    lookupBlocksHit: 0,
    restoredBlocks: 0,
    restoredBytes: 0,
    restoreMs: 0,
    sealMs: 0,
    importMs: 0,
    publishedBlocks: 0,
    duplicateBlocks: 0,
    publishedBytes: 0,
    publishedRawBytes: 0,
    publishMs: 0,
    droppedBlocks: 0,
    quarantinedObjects: 0,
    evictedObjects: 0,
    evictedBytes: 0,
    leasesAcquired: 0,
    leasesHeldByOthers: 0,
    leasesLost: 0,
    faults: {
      unavailable: 0,
      timeout: 0,
      quarantined: 0,
      missing: 0,
      over_quota: 0,
      orphaned: 0,
      overloaded: 0,
      engine: 0,
      cancelled: 0,
      closed: 0,
      internal: 0,
    },
    publishQueueBlocks: 0,
    publishesRunning: 0,
    storeBreakerOpen: false,
    tiers: [],
  };
}
