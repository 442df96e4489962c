import { equalBytes } from '@longshore/core';
import type { FoundBlock, NewKvBlock, NewKvObject, Reservation } from '@longshore/db';
import type { BlockDirectory } from '../ports.ts';
import { MemoryChains, type MemoryObject } from './memory-chains.ts';
import { MemoryLeases } from './memory-leases.ts';

/** As in Postgres: parents are kept so much longer than their child needs. */
const PARENT_SLACK_MS = 60_000;

export interface MemoryDirectoryOptions {
  /** Milliseconds; may be a simulation's. */
  now: () => number;
  /** For organizations without a quota of their own; absent: no limit. */
  defaultQuotaBytes?: number;
}

export interface MemoryDirectory extends BlockDirectory {
  readonly chains: MemoryChains;
  /** Session tails by object key, and whether their session is pinned: stands for the table of sessions. */
  readonly tails: Map<string, { pinned: boolean; expiresAt: number }>;
  setQuota(organizationId: string, bytes: number | undefined): void;
  /** No new reservation, and nothing of it can be found. */
  deleteOrganization(organizationId: string): void;
}

/** The block directory in this process's memory, with the rules of db/src/queries. For simulations and tests; not shared, lost with the process. */
export function createMemoryDirectory(options: MemoryDirectoryOptions): MemoryDirectory {
  const { now } = options;
  const chains = new MemoryChains();
  const leases = new MemoryLeases(now);
  const tails: MemoryDirectory['tails'] = new Map();
  const quotas = new Map<string, number>();
  const gone = new Set<string>();
  const { objects, ledger } = chains;

  const isPinned = (object: MemoryObject) => object.pins.size > 0 || tails.get(object.key)?.pinned === true;
  const isExpired = (object: MemoryObject) => object.expiresAt <= now() && !isPinned(object);
  const isReadable = (object: MemoryObject | undefined) => object?.state === 'ready' && !isExpired(object);
  const all = (
    which: (object: MemoryObject) => boolean,
    order: (a: MemoryObject, b: MemoryObject) => number,
    limit: number,
  ) => [...objects.values()].filter(which).sort(order).slice(0, limit);
  const byAge = (a: MemoryObject, b: MemoryObject) => a.createdAt - b.createdAt;

  /** Parents expire after `object`, or are slid to `slack` after it, and theirs with them. */
  function slideAncestors(object: MemoryObject, slack = PARENT_SLACK_MS): void {
    const target = object.expiresAt + slack;
    const slide = (of: MemoryObject, needed: number) => {
      for (const parent of chains.parents(of)) {
        if (parent.state !== 'ready' || parent.expiresAt >= needed) continue;
        parent.expiresAt = target;
        slide(parent, target);
      }
    };
    slide(object, object.expiresAt);
  }

  function reserve(object: NewKvObject): Reservation {
    const { organizationId, storedBytes } = object;
    if (gone.has(organizationId)) return { reserved: false, reason: 'organization_gone' };
    const quotaBytes = quotas.get(organizationId) ?? options.defaultQuotaBytes ?? Number.POSITIVE_INFINITY;
    const heldBytes = ledger.heldBytes(organizationId);
    const victims =
      heldBytes + storedBytes > quotaBytes ? leavesToEvict(object, heldBytes + storedBytes - quotaBytes) : [];
    if (!victims || storedBytes > quotaBytes) return { reserved: false, reason: 'over_quota', quotaBytes, heldBytes };
    for (const victim of victims) chains.retireLeafward([victim], 'evicted', now());
    const at = now();
    chains.add({
      ...object,
      state: 'reserved',
      createdAt: at,
      readyAt: 0,
      lastUsedAt: at,
      expiresAt: at + 1000 * object.ttlSeconds,
      retiredAt: 0,
      retiredReason: '',
      blocks: new Set(),
      pins: new Set(),
    });
    return {
      reserved: true,
      evictedObjects: victims.length,
      evictedBytes: victims.reduce((sum, victim) => sum + victim.storedBytes, 0),
    };
  }

  /** In the order in which they go, leaves first; undefined when not enough can go. */
  function leavesToEvict(object: NewKvObject, needed: number): MemoryObject[] | undefined {
    const continued = object.parentHash && chains.objectOf(object.parentHash);
    const candidates = chains
      .ofOrganization(object.organizationId)
      .filter((one) => one.state === 'ready' && one !== continued && !isPinned(one) && !chains.isExtended(one))
      .sort((a, b) => a.lastUsedAt - b.lastUsedAt || b.firstToken - a.firstToken);
    const victims = new Set<MemoryObject>();
    let bytes = 0;
    while (bytes < needed) {
      const leaf = candidates.find(
        (one) => !victims.has(one) && chains.livingChildren(one).every((child) => victims.has(child)),
      );
      if (!leaf) return undefined;
      victims.add(leaf);
      bytes += leaf.storedBytes;
    }
    return [...victims];
  }

  function markReady(key: string, blocks: readonly NewKvBlock[]) {
    const object = objects.get(key);
    if (object?.state !== 'reserved' || gone.has(object.organizationId)) return undefined;
    const at = now();
    chains.setState(object, 'ready', at);
    object.readyAt = at;
    const first = blocks[0];
    if (!first) return { taken: 0, orphaned: false };
    const parent = chains.objectOf(first.parentHash);
    const attached = parent?.state === 'ready' && parent.organizationId === object.organizationId;
    if (first.blockIndex > 0 && !attached) {
      chains.retireLeafward([object], 'orphaned', at);
      return { taken: 0, orphaned: true };
    }
    const free = blocks.filter((block) => !isReadable(chains.objectOf(block.hash)));
    for (const block of free) chains.point(block, object);
    if (free.length === 0) chains.retireLeafward([object], 'lost_race', at);
    else {
      for (const child of chains.livingChildren(object)) {
        object.expiresAt = Math.max(object.expiresAt, child.expiresAt);
        for (const holder of child.pins) object.pins.add(holder);
      }
      slideAncestors(object);
    }
    return { taken: free.length, orphaned: false };
  }

  function retireWhere(
    which: (object: MemoryObject) => boolean,
    order: (a: MemoryObject, b: MemoryObject) => number,
    limit: number,
    reason: 'abandoned' | 'expired' | 'orphan_tail',
  ): number {
    return chains.retireLeafward(all(which, order, limit), reason, now(), { keepExtended: true }).length;
  }

  return {
    chains,
    tails,
    setQuota(organizationId, bytes) {
      if (bytes === undefined) quotas.delete(organizationId);
      else quotas.set(organizationId, bytes);
    },
    deleteOrganization(organizationId) {
      gone.add(organizationId);
      const own = chains.ofOrganization(organizationId);
      for (const object of own) {
        if (object.pins.size > 0) object.expiresAt = Math.max(object.expiresAt, now());
        object.pins.clear();
      }
      chains.retireLeafward(own, 'removed', now());
    },
    async findBlocks(organizationId, namespace, hashes) {
      return hashes.flatMap((hash): FoundBlock[] => {
        const object = chains.objectOf(hash);
        if (object?.organizationId !== organizationId || !equalBytes(object.namespace, namespace)) return [];
        const first = Math.floor(object.firstToken / 128);
        const { blockIndex } = chains.blocks.get(Buffer.from(hash).toString('hex'))!;
        return [
          {
            hash,
            objectKey: object.key,
            indexInObject: blockIndex - first,
            state: object.state,
            retiredReason: object.retiredReason || null,
            expired: isExpired(object),
            objectFirstToken: object.firstToken,
            objectTokenCount: object.tokenCount,
            storedBytes: object.storedBytes,
            rawBytes: object.rawBytes,
          },
        ];
      });
    },
    async findObject(organizationId, key) {
      const object = objects.get(key);
      const found = object?.organizationId === organizationId && object.state === 'ready';
      return found ? { storedBytes: object.storedBytes } : undefined;
    },
    reserve: async (object) => reserve(object),
    markReady: async (key, blocks) => markReady(key, blocks),
    async touch(organizationId, hashes, ttlSeconds) {
      const used = new Set(hashes.flatMap((hash) => chains.objectOf(hash) ?? []));
      const living = [...used].filter((object) => object.organizationId === organizationId && object.state === 'ready');
      for (const object of living) {
        object.lastUsedAt = now();
        object.expiresAt = Math.max(object.expiresAt, now() + 1000 * ttlSeconds);
      }
      const first = living.sort((a, b) => a.firstToken - b.firstToken)[0];
      if (first) slideAncestors(first, 0);
    },
    async pin(organizationId, headHash, holder) {
      const chain = new Set<MemoryObject>();
      const climb = (object: MemoryObject | undefined) => {
        if (object?.state !== 'ready' || object.organizationId !== organizationId || chain.has(object)) return;
        chain.add(object);
        object.pins.add(holder);
        for (const parent of chains.parents(object)) climb(parent);
      };
      climb(chains.objectOf(headHash));
      return { objects: chain.size, complete: [...chain].some((object) => object.firstToken === 0) };
    },
    async unpin(organizationId, holder) {
      const held = chains.ofOrganization(organizationId).filter((object) => object.pins.delete(holder));
      for (const object of held) object.expiresAt = Math.max(object.expiresAt, now());
      return held.length;
    },
    async retire(keys, reason) {
      return chains.retireLeafward(
        keys.flatMap((key) => objects.get(key) ?? []),
        reason,
        now(),
      ).length;
    },
    async quarantine(organizationId, key, reason) {
      const object = objects.get(key);
      if (object?.organizationId !== organizationId || object.state !== 'ready') return false;
      chains.takeAway(object, 'quarantined', reason, now());
      return true;
    },
    async removeBlocks(organizationId, hashes) {
      const chosen = [...new Set(hashes.flatMap((hash) => chains.objectOf(hash) ?? []))].filter(
        (object) => object.organizationId === organizationId && ['ready', 'quarantined'].includes(object.state),
      );
      const retired = chains.retireLeafward(chosen, 'removed', now());
      return { objects: retired.length, kept: chosen.length - retired.length };
    },
    acquireLease: async (claim) => leases.acquire(claim),
    renewLease: async (claim, progress) => leases.renew(claim, progress),
    releaseLease: async (claim) => leases.release(claim),
    observeLease: async (organizationId, hashes, index) => leases.observe(organizationId, hashes, index),
    deleteStaleLeases: async (limit) => leases.deleteStale(limit),
    retireAbandoned: async (seconds, limit) =>
      retireWhere(
        (one) => one.state === 'reserved' && one.createdAt < now() - 1000 * seconds,
        byAge,
        limit,
        'abandoned',
      ),
    retireExpired: async (limit) =>
      retireWhere(
        (one) => one.state === 'ready' && one.sessionId === undefined && isExpired(one),
        (a, b) => a.expiresAt - b.expiresAt || b.firstToken - a.firstToken,
        limit,
        'expired',
      ),
    async retireOrphans(seconds, limit) {
      const sick = all((one) => one.state === 'quarantined' && one.retiredAt <= now() - 1000 * seconds, byAge, limit);
      const down = new Set<MemoryObject>();
      const descend = (object: MemoryObject) => {
        for (const child of chains.livingChildren(object)) {
          if (down.has(child)) continue;
          down.add(child);
          descend(child);
        }
      };
      for (const object of sick) descend(object);
      return chains.retireLeafward([...down], 'orphaned', now()).length;
    },
    retireOrphanTails: async (seconds, limit) =>
      retireWhere(
        (one) =>
          one.state === 'ready' &&
          one.sessionId !== undefined &&
          !tails.has(one.key) &&
          one.createdAt < now() - 1000 * seconds,
        byAge,
        limit,
        'orphan_tail',
      ),
    async expireSessions(limit) {
      const due = [...tails].filter(([, tail]) => !tail.pinned && tail.expiresAt <= now()).slice(0, limit);
      for (const [key] of due) {
        tails.delete(key);
        chains.retireLeafward([objects.get(key)!], 'expired', now());
      }
      return due.length;
    },
    async findDeletable(graceSeconds, limit) {
      const due = (one: MemoryObject) =>
        (one.state === 'tombstone' || one.state === 'quarantined') &&
        one.retiredAt < now() - 1000 * graceSeconds &&
        chains.livingChildren(one).length === 0;
      return all(due, (a, b) => a.retiredAt - b.retiredAt || b.firstToken - a.firstToken, limit).map((one) => one.key);
    },
    async deleteRows(keys) {
      for (const object of keys.flatMap((key) => objects.get(key) ?? []))
        if (['tombstone', 'quarantined'].includes(object.state) && chains.livingChildren(object).length === 0)
          chains.drop(object);
    },
    async findReadyKeys(after, upTo, seconds, limit) {
      const within = (one: MemoryObject) =>
        (after === undefined || one.key > after) && (upTo === undefined || one.key <= upTo);
      const due = (one: MemoryObject) => one.state === 'ready' && one.readyAt < now() - 1000 * seconds && within(one);
      const byKey = (a: MemoryObject, b: MemoryObject) => (a.key < b.key ? -1 : 1);
      return all(due, byKey, limit).map(({ key, organizationId }) => ({ key, organizationId }));
    },
    findUnknownKeys: async (keys) => keys.filter((key) => !objects.has(key)),
    // Keys are not kept here: whoever gives the key ring destroys them.
    destroyRetiredKeys: async () => 0,
    foldMeter: async (keepHours, limit) => ledger.fold(now() - 3_600_000 * keepHours, limit),
  };
}
