export type { Hit, ObjectSlice } from './domain/slices.ts';
export type * from './kv-store.ts';
export type { FaultKind, Outcome, StoreFault } from './outcome.ts';
export type { KvStoreStats } from './stats.ts';
export type { DataKey, TenantKeys } from './tenant-keys.ts';
