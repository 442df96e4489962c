import { toHex } from '@longshore/core';
import type { NewKvBlock, NewKvObject, RetireReason } from '@longshore/db';
import { MemoryLedger } from './memory-ledger.ts';

/** Times in milliseconds. */
export interface MemoryObject extends NewKvObject {
  state: 'reserved' | 'ready' | 'quarantined' | 'tombstone';
  createdAt: number;
  readyAt: number;
  lastUsedAt: number;
  expiresAt: number;
  retiredAt: number;
  retiredReason: string;
  /** Hex hashes of the block rows that point here. */
  blocks: Set<string>;
  pins: Set<string>;
}

export interface MemoryBlock extends NewKvBlock {
  objectKey: string;
}

/** The rows and rules of the block directory: what tables, triggers and db/src/queries/kv-chain.ts are in Postgres. */
export class MemoryChains {
  readonly objects = new Map<string, MemoryObject>();
  readonly blocks = new Map<string, MemoryBlock>();
  readonly ledger = new MemoryLedger();
  /** Hex parent hash -> hex hashes of its children's rows. */
  private readonly children = new Map<string, Set<string>>();
  /** Hex parent hash -> keys of reserved objects that continue it. */
  private readonly reserved = new Map<string, Set<string>>();
  private readonly keysOf = new Map<string, Set<string>>();

  add(object: MemoryObject): void {
    this.objects.set(object.key, object);
    put(this.keysOf, object.organizationId, object.key);
    if (object.parentHash) put(this.reserved, toHex(object.parentHash), object.key);
    this.ledger.hold(object.organizationId, object.storedBytes);
  }

  setState(object: MemoryObject, state: MemoryObject['state'], at: number): void {
    const holds = (of: MemoryObject['state']) => Number(of === 'reserved' || of === 'ready');
    const { organizationId, storedBytes, parentHash } = object;
    this.ledger.hold(organizationId, storedBytes * (holds(state) - holds(object.state)));
    if (state === 'ready') this.ledger.bill(organizationId, at, storedBytes);
    else if (object.state === 'ready') this.ledger.bill(organizationId, at, -storedBytes);
    if (object.state === 'reserved' && parentHash) this.reserved.get(toHex(parentHash))?.delete(object.key);
    object.state = state;
  }

  /** As of its expiry, if that is past: nobody found it since, and nobody is billed for it. */
  takeAway(object: MemoryObject, state: 'quarantined' | 'tombstone', reason: string, now: number): void {
    const { sessionId, pins, expiresAt, readyAt } = object;
    const expires = object.state === 'ready' && sessionId === undefined && pins.size === 0;
    object.retiredAt = expires ? Math.min(now, Math.max(expiresAt, readyAt)) : now;
    object.retiredReason = reason;
    this.setState(object, state, object.retiredAt);
  }

  /** The block's row points to this object from now on. */
  point(block: NewKvBlock, object: MemoryObject): void {
    const name = toHex(block.hash);
    const before = this.blocks.get(name);
    if (before) this.objects.get(before.objectKey)?.blocks.delete(name);
    this.blocks.set(name, { ...block, objectKey: object.key });
    object.blocks.add(name);
    put(this.children, toHex(block.parentHash), name);
  }

  drop(object: MemoryObject): void {
    this.objects.delete(object.key);
    this.keysOf.get(object.organizationId)?.delete(object.key);
    for (const name of object.blocks) {
      const block = this.blocks.get(name)!;
      this.blocks.delete(name);
      this.children.get(toHex(block.parentHash))?.delete(name);
    }
  }

  objectOf(hash: Uint8Array): MemoryObject | undefined {
    const block = this.blocks.get(toHex(hash));
    return block && this.objects.get(block.objectKey);
  }

  ofOrganization(organizationId: string): MemoryObject[] {
    return [...(this.keysOf.get(organizationId) ?? [])].map((key) => this.objects.get(key)!);
  }

  livingChildren(object: MemoryObject): MemoryObject[] {
    const found = new Set<MemoryObject>();
    for (const name of object.blocks)
      for (const child of this.children.get(name) ?? []) {
        const owner = this.objects.get(this.blocks.get(child)!.objectKey)!;
        if (owner !== object && owner.state === 'ready') found.add(owner);
      }
    return [...found];
  }

  isExtended(object: MemoryObject): boolean {
    return [...object.blocks].some((name) => (this.reserved.get(name)?.size ?? 0) > 0);
  }

  parents(object: MemoryObject): MemoryObject[] {
    const found = new Set<MemoryObject>();
    for (const name of object.blocks) {
      const parent = this.objectOf(this.blocks.get(name)!.parentHash);
      if (parent && parent !== object) found.add(parent);
    }
    return [...found];
  }

  /** Keeps what a living block outside of `chosen` needs, what is pinned, and with `keepExtended` what is being extended. */
  retireLeafward(
    chosen: readonly MemoryObject[],
    reason: RetireReason,
    now: number,
    options: { keepExtended?: boolean } = {},
  ): MemoryObject[] {
    const candidates = new Set(chosen.filter((object) => object.state !== 'tombstone'));
    const kept = new Set<MemoryObject>();
    const keep = (object: MemoryObject) => {
      if (kept.has(object) || !candidates.has(object)) return;
      kept.add(object);
      for (const parent of this.parents(object)) keep(parent);
    };
    for (const object of candidates) {
      const needed = this.livingChildren(object).some((child) => !candidates.has(child));
      if (needed || object.pins.size > 0 || (options.keepExtended && this.isExtended(object))) keep(object);
    }
    const retired = [...candidates].filter((object) => !kept.has(object));
    for (const object of retired) {
      this.takeAway(object, 'tombstone', reason, now);
    }
    return retired;
  }

  /** Contradictions between rows; empty when all is well. */
  faults(): string[] {
    const faults: string[] = [];
    const sums = new Map<string, { held: number; ready: number }>();
    for (const object of this.objects.values()) {
      const sum = sums.get(object.organizationId) ?? { held: 0, ready: 0 };
      sums.set(object.organizationId, sum);
      if (object.state === 'reserved' || object.state === 'ready') sum.held += object.storedBytes;
      if (object.state === 'ready') sum.ready += object.storedBytes;
      if (object.state !== 'ready') continue;
      for (const name of object.blocks) {
        const block = this.blocks.get(name)!;
        if (block.blockIndex === 0) continue;
        const parent = this.objectOf(block.parentHash);
        if (!parent || (parent.state !== 'ready' && parent.state !== 'quarantined'))
          faults.push(`block ${name} lives without its parent`);
        else if (parent.state === 'ready' && parent.expiresAt < object.expiresAt)
          faults.push(`block ${name} outlives its parent`);
      }
    }
    for (const [organizationId, keys] of this.keysOf) {
      const { held, ready } = sums.get(organizationId) ?? { held: 0, ready: 0 };
      if (this.ledger.heldBytes(organizationId) !== held)
        faults.push(`account of ${organizationId} is not the sum of its ${keys.size} objects`);
      if (this.ledger.billedBytes(organizationId) !== ready)
        faults.push(`meter of ${organizationId} is not the sum of its ${keys.size} objects`);
    }
    return faults;
  }
}

function put<K>(index: Map<K, Set<string>>, key: K, value: string): void {
  const found = index.get(key);
  if (found) found.add(value);
  else index.set(key, new Set([value]));
}
