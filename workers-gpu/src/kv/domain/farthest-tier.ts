const ORDER = ['host', 'disk', 's3'] as const;
type StoreTier = (typeof ORDER)[number];

/** Of the tiers that served one request the one whose speed decided. */
export function farthestTier(...tiers: readonly (StoreTier | undefined)[]): StoreTier | undefined {
  return ORDER[Math.max(...tiers.map((tier) => (tier === undefined ? -1 : ORDER.indexOf(tier))))];
}
