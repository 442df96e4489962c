import { blockDirectoryContract } from '../testing/block-directory-contract.ts';
import { createMemoryDirectory } from './memory-directory.ts';

blockDirectoryContract('memory', async () => {
  let now = Date.UTC(2026, 0, 1);
  let organizations = 0;
  const directory = createMemoryDirectory({ now: () => now });
  const { chains } = directory;
  return {
    directory,
    organization: async () => `org_${organizations++}`,
    async advance(seconds) {
      now += 1000 * seconds;
    },
    setQuota: async (organizationId, bytes) => directory.setQuota(organizationId, bytes),
    heldBytes: async (organizationId) => chains.ledger.heldBytes(organizationId),
    byteSeconds: async (organizationId) => chains.ledger.byteSeconds(organizationId, now),
    faults: async () => chains.faults(),
    stop: async () => {},
  };
});
