export * from './bootstrap.ts';
export * from './client.ts';
export * from './key-wrap.ts';
export { localMasterKey, type MasterKey, type MasterKeyOrBytes, masterKeyFrom } from './master-key.ts';
export * from './queries/api-key-admin.ts';
export * from './queries/api-keys.ts';
export { insertDataKey, loadDataKeys, type OpenedDataKey } from './queries/data-keys.ts';
export * from './queries/key-rotation.ts';
export type { RetireReason } from './queries/kv-chain.ts';
export {
  type DepartureReason,
  findDeparture,
  findNamespace,
  findSiblings,
  forgetDepartures,
  knownHashes,
  type NamespaceRecord,
  noteNamespace,
  recentNamespaces,
  type SiblingBlock,
} from './queries/kv-diagnosis.ts';
export * from './queries/kv-meter.ts';
export * from './queries/kv-objects.ts';
export * from './queries/kv-pins.ts';
export * from './queries/kv-quota.ts';
export * from './queries/kv-sweep.ts';
export * from './queries/kv-totals.ts';
export * from './queries/kv-touch.ts';
export * from './queries/leases.ts';
export * from './queries/organizations.ts';
export * from './queries/session-changes.ts';
export * from './queries/sessions.ts';
export {
  findSession,
  listSessions,
  type SessionOwner,
  type SessionPageQuery,
  type SessionSummary,
} from './queries/sessions-read.ts';
export * from './queries/usage.ts';
export * as schema from './schema.ts';
