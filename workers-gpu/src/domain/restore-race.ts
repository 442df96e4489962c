import { BLOCK_TOKENS } from '@longshore/core';
import type { LoadedTier } from './tier-speeds.ts';

/** Blocks [firstBlock, endBlock) of a chain that one read brings, all at its end. In order, without gaps between them. */
export interface LoadPart {
  firstBlock: number;
  endBlock: number;
  /** To be read. */
  bytes: number;
  /** Where from. */
  tier: LoadedTier;
}

interface LoadCost {
  readonly latencyMs: number;
  /** The latency included. */
  estimateMs(bytes: number): number;
}

/** Of each tier. */
export interface LoadCosts {
  of(tier: LoadedTier): LoadCost;
}

/** Milliseconds until all of these are there, read together: one latency, and every tier's bytes at its own rate. */
export function loadMs(parts: readonly Pick<LoadPart, 'bytes' | 'tier'>[], costs: LoadCosts): number {
  let latencyMs = 0;
  let transferMs = 0;
  for (const { bytes, tier } of parts) {
    const cost = costs.of(tier);
    latencyMs = Math.max(latencyMs, cost.latencyMs);
    transferMs += cost.estimateMs(bytes) - cost.latencyMs;
  }
  return latencyMs + transferMs;
}

export interface ComputeCost {
  /** Milliseconds to prefill tokens [start, end). */
  estimateMs(start: number, end: number): number;
}

/** Live rates are believed after this long, and half of what the load should take: its first bytes come slowly. Until then the learned ones are. */
const SETTLE_MS = 50;
/**
 * Computing beside a load slows it where both need the same cores. It is worth that only where it clearly spares a read: when what
 * stands before the part's end is computed in this share of the time until the part arrives, or everything sooner than that.
 */
const CLEAR_WIN = 0.2;
const NARROW_WIN = 0.95;

const spares = (partMs: number, allMs: number, waitMs: number): boolean =>
  partMs <= CLEAR_WIN * waitMs || allMs <= NARROW_WIN * waitMs;

/**
 * How many of the parts are worth reading when the last one is read first and the sequence computes from token `from` on: those that
 * computing does not clearly spare. Counted from the back; 0: loading is hopeless. A read that compute overtakes after all is given up.
 */
export function partsWorthLoading(
  parts: readonly LoadPart[],
  from: number,
  load: LoadCosts,
  compute: ComputeCost,
): number {
  const allMs = compute.estimateMs(from, (parts.at(-1)?.endBlock ?? 0) * BLOCK_TOKENS);
  for (let count = 0; count < parts.length; count++) {
    const first = parts.length - 1 - count;
    const partMs = compute.estimateMs(from, parts[first]!.endBlock * BLOCK_TOKENS);
    if (spares(partMs, allMs, loadMs(parts.slice(first), load))) return count;
  }
  return parts.length;
}

interface RunningPart extends LoadPart {
  arrived: number;
  settled: boolean;
}

/** What has come from one tier, and since when. */
interface Arrivals {
  firstAt: number;
  bytes: number;
}

/**
 * One prefix, loaded from its end while it may be computed from its start, until both meet. Says before each step how much of it is
 * worth computing, from the rate at which the bytes really come in. Times are milliseconds on the caller's clock.
 */
export class RestoreRace {
  private readonly parts: RunningPart[];
  private readonly endToken: number;
  private readonly load: LoadCosts;
  private readonly compute: ComputeCost;
  private readonly startedAt: number;
  private firstAt: number | undefined;
  private readonly arrivals = new Map<LoadedTier, Arrivals>();

  /** `parts`: those that are read, front first. `endToken`: where the last one ends. */
  constructor(parts: readonly LoadPart[], endToken: number, load: LoadCosts, compute: ComputeCost, now: number) {
    this.parts = parts.map((part) => ({ ...part, arrived: 0, settled: false }));
    this.endToken = endToken;
    this.load = load;
    this.compute = compute;
    this.startedAt = now;
  }

  arrived(part: number, bytes: number, now: number): void {
    this.firstAt ??= now;
    const one = this.parts[part]!;
    one.arrived += bytes;
    const from = this.arrivals.get(one.tier);
    if (from === undefined) this.arrivals.set(one.tier, { firstAt: now, bytes });
    else from.bytes += bytes;
  }

  /** Its blocks are on the device, or will not come. */
  settle(part: number): void {
    this.parts[part]!.settled = true;
  }

  /** Nothing of this part is wanted any more when `computed` tokens have their KV. */
  needless(part: number, computed: number): boolean {
    return Math.min(this.parts[part]!.endBlock * BLOCK_TOKENS, this.endToken) <= computed;
  }

  arrivedOf(part: number): number {
    return this.parts[part]!.arrived;
  }

  /** From the start to the first byte; undefined before. */
  get firstMs(): number | undefined {
    return this.firstAt === undefined ? undefined : this.firstAt - this.startedAt;
  }

  /** Tokens from `computed` on that will be computed before their blocks arrive, at most `limit`. */
  tokensWorthComputing(computed: number, limit: number, now: number): number {
    const front = this.partAt(Math.floor(computed / BLOCK_TOKENS));
    if (front !== undefined && !this.sparesRead(front, computed, now)) return 0;
    let token = computed;
    while (token < this.endToken && token - computed < limit) {
      const block = Math.floor(token / BLOCK_TOKENS);
      const next = Math.min((block + 1) * BLOCK_TOKENS, this.endToken);
      const part = this.partAt(block);
      if (part !== undefined && this.compute.estimateMs(computed, next) > this.msUntil(part, now)) break;
      token = next;
    }
    return Math.min(limit, token - computed);
  }

  private sparesRead(front: RunningPart, computed: number, now: number): boolean {
    const waitMs = this.msUntil(front, now);
    const partMs = this.compute.estimateMs(computed, Math.min(front.endBlock * BLOCK_TOKENS, this.endToken));
    return spares(partMs, this.compute.estimateMs(computed, this.endToken), waitMs);
  }

  private partAt(block: number): RunningPart | undefined {
    return this.parts.find((part) => !part.settled && part.firstBlock <= block && block < part.endBlock);
  }

  /** Until this part is there, with all that are read before it. */
  private msUntil(wanted: RunningPart, now: number): number {
    const missing = this.parts
      .filter((part) => !part.settled && part.firstBlock >= wanted.firstBlock)
      .map(({ tier, bytes, arrived }) => ({ tier, bytes: Math.max(0, bytes - arrived) }));
    const latencyMs = Math.max(0, ...missing.map(({ tier }) => this.load.of(tier).latencyMs));
    if (this.firstAt === undefined) {
      const learned = loadMs(missing, this.load) - latencyMs;
      const waited = now - this.startedAt;
      // Overdue: as long again as it has taken so far is the best guess.
      return waited > 2 * latencyMs + SETTLE_MS ? Math.max(learned, waited) : learned + Math.max(0, latencyMs - waited);
    }
    let ms = 0;
    for (const tier of new Set(missing.map((part) => part.tier))) {
      ms += this.transferMs(
        tier,
        missing.filter((part) => part.tier === tier).reduce((sum, { bytes }) => sum + bytes, 0),
        now,
      );
    }
    return ms;
  }

  /** For `bytes` more of a tier of which some have come, at the rate that it really has once that can be believed. */
  private transferMs(tier: LoadedTier, bytes: number, now: number): number {
    const cost = this.load.of(tier);
    const learned = cost.estimateMs(bytes) - cost.latencyMs;
    const from = this.arrivals.get(tier);
    if (from === undefined) return learned;
    const seconds = now - from.firstAt;
    return seconds < Math.max(SETTLE_MS, learned / 2) ? learned : (bytes * seconds) / from.bytes;
  }
}
