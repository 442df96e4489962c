import { tierContract } from '../testing/tier-contract.ts';
import { createHostTier } from './host-tier.ts';

tierContract('host', 0, async (settings) => {
  const tier = createHostTier(settings);
  return { tier, stop: () => tier.close() };
});
