import { chainHashes } from '@longshore/core';
import type { TenantKeys } from '../../workers-gpu/src/kv/index.ts';

/** What the organizations ask for: a few documents that many requests share, conversations that grow, and prompts seen once. */
export interface Prompt {
  /** Names the content; blocks of prompts with one name agree as far as both reach. */
  name: number;
  blocks: number;
  ttlSeconds: number;
}

const TTL_SECONDS = [300, 3600, 3600, 3600, 6 * 3600, 30 * 3600];
const DOCUMENTS = 12;

export class Traffic {
  private readonly draw: (below: number) => number;
  /** Turns taken by conversation. */
  private readonly turns = new Map<number, number>();
  private once = 0;

  constructor(draw: (below: number) => number) {
    this.draw = draw;
  }

  next(organization: number): Prompt {
    const kind = this.draw(10);
    const ttlSeconds = TTL_SECONDS[this.draw(TTL_SECONDS.length)]!;
    if (kind < 5) {
      // The product of two draws prefers small numbers: some documents are hot.
      const document = Math.floor((this.draw(DOCUMENTS) * this.draw(DOCUMENTS)) / DOCUMENTS);
      return { name: organization * 1000 + document, blocks: 4 + ((document * 7) % 29), ttlSeconds };
    }
    if (kind < 8) {
      const name = organization * 1000 + 100 + this.draw(20);
      const turn = (this.turns.get(name) ?? 0) + 1;
      this.turns.set(name, turn % 16);
      return { name, blocks: 2 + 2 * turn, ttlSeconds };
    }
    return { name: 1_000_000 + this.once++, blocks: 1 + this.draw(12), ttlSeconds };
  }
}

const cache = new Map<string, Uint8Array[]>();
const MAX_CACHED = 20_000;

/** Block hashes of a prompt under a tenant's root. Hashing is most of a simulation's time, so hot ones are kept. */
export function hashesOf(tenant: TenantKeys, prompt: Pick<Prompt, 'name' | 'blocks'>): Uint8Array[] {
  const key = `${tenant.organizationId}/${prompt.name}`;
  const known = cache.get(key);
  if (known && known.length >= prompt.blocks) return known.slice(0, prompt.blocks);
  const tokens = Array.from({ length: prompt.blocks * 128 }, (_, index) =>
    index % 128 === 0 ? prompt.name : index >>> 7,
  );
  const hashes = chainHashes(tenant.root, tokens);
  if (cache.size >= MAX_CACHED) cache.clear();
  cache.set(key, hashes);
  return hashes;
}
