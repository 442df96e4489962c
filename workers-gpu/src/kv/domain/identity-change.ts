import { type CacheIdentity, canonicalJson } from '@longshore/core';

export type IdentityChange = 'model_changed' | 'policy_changed' | 'codec_changed' | 'numerics_changed';

/** What each change is made of, the weightiest first: a changed model says more than the codec that changed with it. */
const PARTS: ReadonlyArray<[IdentityChange, ReadonlyArray<keyof CacheIdentity>]> = [
  ['model_changed', ['weights', 'config', 'tokenizer']],
  ['policy_changed', ['policy']],
  ['codec_changed', ['codec', 'codecParameter', 'kvDtype']],
  ['numerics_changed', ['numerics']],
];

/** An identity as it was recorded: another build's may have fewer or more parts. */
export type RecordedIdentity = Partial<Record<keyof CacheIdentity, unknown>>;

const same = (a: unknown, b: unknown): boolean =>
  (a === undefined || a === null ? 'null' : canonicalJson(a as CacheIdentity['config'])) ===
  (b === undefined || b === null ? 'null' : canonicalJson(b as CacheIdentity['config']));

/** Everything in which two identities differ, the weightiest first. */
export function changesBetween(own: RecordedIdentity, other: RecordedIdentity): IdentityChange[] {
  return PARTS.filter(([, parts]) => parts.some((part) => !same(own[part], other[part]))).map(([change]) => change);
}

/** Why KV that was stored under the nearest of `others` cannot be used: its weightiest difference. Undefined without others. */
export function nearestChange(own: RecordedIdentity, others: readonly RecordedIdentity[]): IdentityChange | undefined {
  const changes = others.map((other) => changesBetween(own, other)).sort((a, b) => a.length - b.length);
  return changes[0]?.[0];
}
