/** Why the store could not do something. None of these may fail a request: the caller computes instead. */
export type FaultKind =
  /** Object store or database unreachable, or the breaker is open after such failures. */
  | 'unavailable'
  | 'timeout'
  /** A stored byte contradicted its header, checksum, seal or chain: the object was quarantined. */
  | 'quarantined'
  /** The directory named an object that the object store does not hold; its row was quarantined. */
  | 'missing'
  /** The organization's quota is full, and nothing of its own could be evicted for it. */
  | 'over_quota'
  /** What was published continues a chain that is not stored any more; publish that chain first. */
  | 'orphaned'
  /** A bounded queue is full. */
  | 'overloaded'
  /** The engine refused to export or import. */
  | 'engine'
  | 'cancelled'
  | 'closed'
  /** A bug here; the message says where. */
  | 'internal';

export interface StoreFault {
  kind: FaultKind;
  message: string;
}

export type Outcome<T> = { ok: true; value: T } | { ok: false; fault: StoreFault };

export function done<T>(value: T): Outcome<T> {
  return { ok: true, value };
}

export function failed(kind: FaultKind, message: string): { ok: false; fault: StoreFault } {
  return { ok: false, fault: { kind, message } };
}
