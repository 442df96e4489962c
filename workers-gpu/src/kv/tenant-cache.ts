import { chainRoot, toHex } from '@longshore/core';
import { faultOf } from './fault.ts';
import { done, failed, type Outcome } from './outcome.ts';
import type { KeyRing } from './ports.ts';
import type { TenantKeys } from './tenant-keys.ts';

/** So long a deleted or rotated key may still be used here. */
const TTL_MS = 30_000;
const MAX_TENANTS = 1024;

interface Entry {
  loadedAt: number;
  keys: Promise<Outcome<TenantKeys>>;
}

/** Tenants' keys in memory: one load at a time per tenant, the least recently loaded ones leave first, failures are not kept. */
export class TenantCache {
  private readonly entries = new Map<string, Entry>();
  private readonly ring: KeyRing;
  private readonly namespace: Uint8Array;
  private readonly now: () => number;

  constructor(ring: KeyRing, namespace: Uint8Array, now: () => number) {
    this.ring = ring;
    this.namespace = namespace;
    this.now = now;
  }

  /** `fresh`: whatever is cached is asked for again. */
  get(organizationId: string, fresh = false): Promise<Outcome<TenantKeys>> {
    const cached = this.entries.get(organizationId);
    if (cached && !fresh && this.now() - cached.loadedAt < TTL_MS) return cached.keys;
    const entry: Entry = { loadedAt: this.now(), keys: this.load(organizationId) };
    this.entries.delete(organizationId);
    this.entries.set(organizationId, entry);
    if (this.entries.size > MAX_TENANTS) this.entries.delete(this.entries.keys().next().value!);
    void entry.keys.then((outcome) => {
      if (!outcome.ok && this.entries.get(organizationId) === entry) this.entries.delete(organizationId);
    });
    return entry.keys;
  }

  private async load(organizationId: string): Promise<Outcome<TenantKeys>> {
    try {
      const keys = await this.ring.load(organizationId);
      const current = keys.find((key) => !key.retired);
      if (!current) return failed('missing', `organization ${organizationId} has no data key: its cache stays unused`);
      const known = keys.map((key) => ({ id: key.id, key: key.dataKey }));
      return done({
        organizationId,
        root: chainRoot(current.chainSecret, this.namespace),
        chainSecrets: distinct([current, ...keys].map((key) => key.chainSecret)),
        current: { id: current.id, key: current.dataKey },
        byId: new Map(known.map((key) => [toHex(key.id), key])),
      });
    } catch (error) {
      return { ok: false, fault: faultOf(error) };
    }
  }
}

function distinct(secrets: readonly Uint8Array[]): Uint8Array[] {
  return [...new Map(secrets.map((secret) => [toHex(secret), secret])).values()];
}
