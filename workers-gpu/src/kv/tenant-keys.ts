/** One AES-256 key that seals objects; `id` is the 16 bytes in their headers. */
export interface DataKey {
  id: Uint8Array;
  key: Uint8Array;
}

/** What a worker knows of a tenant. Never logged, never sent on. */
export interface TenantKeys {
  organizationId: string;
  /** h0 = HMAC(chain secret, the store's namespace): where this tenant's hash chains start. */
  root: Uint8Array;
  /** Roots of this tenant's chains, the current one first; former ones only tell a miss that the secret was rotated. */
  chainSecrets: readonly Uint8Array[];
  /** Seals what is written now. */
  current: DataKey;
  /** Every key that may open what was written earlier, by hex id. */
  byId: ReadonlyMap<string, DataKey>;
}
