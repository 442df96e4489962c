import { join } from 'node:path';
import type { WorkerConfig } from './config.ts';
import { createHostTier, openDiskTier, type Tier } from './kv/index.ts';
import type { Logger } from './telemetry/log.ts';

/** The tiers between the engine and the object store, nearest first. A folder that cannot be used costs the disk tier, not the start. */
export async function openTiers(
  config: Pick<WorkerConfig, 'tiers' | 'workerId' | 'cacheTtlSeconds'>,
  log: Logger,
): Promise<Tier[]> {
  const { hostBytes, diskBytes, diskFolder } = config.tiers;
  const common = { ttlMs: config.cacheTtlSeconds * 1000, now: () => performance.now() };
  const tiers: Tier[] = [];
  if (hostBytes > 0) tiers.push(createHostTier({ ...common, budgetBytes: hostBytes }));
  if (diskBytes === 0 || diskFolder === undefined) return tiers;
  const folder = join(diskFolder, encodeURIComponent(config.workerId));
  try {
    const tier = await openDiskTier({ ...common, folder, budgetBytes: diskBytes, wallClock: () => Date.now() });
    tiers.push(tier);
    log.info('disk_tier', { folder, ...tier.stats() });
  } catch (error) {
    log.warn('disk_tier_unavailable', { folder, error });
  }
  return tiers;
}
