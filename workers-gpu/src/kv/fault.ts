import { EngineError } from '@longshore/native';
import type { FaultKind, StoreFault } from './outcome.ts';
import { StoreError, type StoreErrorKind } from './ports.ts';

/** A stored object that must not be used: what it says contradicts its bytes, its chain or the directory. */
export class Mismatch extends Error {}

/** Sealed with a key that the tenant (as this worker knows it) does not have. */
export class UnknownKey extends Mismatch {}

const KIND_OF_STORE_ERROR: Record<StoreErrorKind, FaultKind> = {
  unavailable: 'unavailable',
  timeout: 'timeout',
  missing: 'missing',
  truncated: 'quarantined',
  cancelled: 'cancelled',
  over_quota: 'over_quota',
  orphaned: 'orphaned',
};

/** Names whatever was thrown on the way to or from a tier. */
export function faultOf(error: unknown): StoreFault {
  if (error instanceof StoreError) return { kind: KIND_OF_STORE_ERROR[error.kind], message: error.message };
  if (error instanceof Mismatch) return { kind: 'quarantined', message: error.message };
  if (error instanceof EngineError) return { kind: 'engine', message: `${error.code}: ${error.message}` };
  return { kind: 'internal', message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}
