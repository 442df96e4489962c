import type { ApiKeyGrant } from '@longshore/db';

/** A revoked key is refused at every edge after this time at the latest; the promise is 5 seconds. */
export const KEY_CACHE_MS = 4000;
const MAX_KEYS = 10_000;

interface Entry {
  grant: ApiKeyGrant;
  until: number;
}

/** Active keys seen moments ago, by hash. Only successes are kept: a refusal is always asked again. */
export class KeyCache {
  private readonly entries = new Map<string, Entry>();
  private readonly maxKeys: number;

  constructor(maxKeys: number = MAX_KEYS) {
    this.maxKeys = maxKeys;
  }

  get size(): number {
    return this.entries.size;
  }

  get(hash: string, now: number): ApiKeyGrant | undefined {
    const entry = this.entries.get(hash);
    if (entry === undefined) return undefined;
    if (now < entry.until) return entry.grant;
    this.entries.delete(hash);
    return undefined;
  }

  /** `askedAt`: when the database was asked, not when it answered. */
  put(hash: string, grant: ApiKeyGrant, askedAt: number): void {
    this.entries.delete(hash);
    this.entries.set(hash, { grant, until: askedAt + KEY_CACHE_MS });
    for (const oldest of this.entries.keys()) {
      if (this.entries.size <= this.maxKeys) break;
      this.entries.delete(oldest);
    }
  }
}
