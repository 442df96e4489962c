import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { toHex } from '@longshore/core';
import type { KvStore, TenantKeys } from '../../workers-gpu/src/kv/index.ts';
import { Accountant } from './accountant.ts';
import { hashesOf, type Prompt, Traffic } from './traffic.ts';
import { SHAPE, type SimulatedWorker, World } from './world.ts';

export interface DayOptions {
  seed: number;
  hours: number;
  organizations: number;
  /** Of an organization, an hour. */
  requestsPerHour: number;
  workers?: number;
  quotaBytes?: number;
  tierBytes?: number;
}

export interface DayReport {
  requests: number;
  blocksAsked: number;
  blocksHit: number;
  blocksRestored: number;
  blocksPublished: number;
  evictedObjects: number;
  declinedPublishes: number;
  workersKilled: number;
  objectsLost: number;
  strayObjects: number;
  organizationsDeleted: number;
  removals: number;
  pins: number;
  pinnedBlocksChecked: number;
  /** Over all organizations and moments: held bytes as a share of the quota. */
  largestQuotaShare: number;
  /** The same of the workers' host tiers; and what these served, and evicted. */
  largestTierShare: number;
  tierHits: number;
  tierEvictions: number;
  /** What a bill of the whole day says, and what an accountant who looked at the objects says. */
  byteSecondsBilled: number;
  byteSecondsHeld: number;
  objectsAtTheEnd: number;
  /** Of everything that is left: the same seed leaves the same. */
  digest: string;
}

/** Blocks published in one call, so that a chain is several objects. */
const GROUP = 4;
/** Physical blocks of one request; those that run at once have their own. */
const LANE_BLOCKS = 100;
const SWEEP_MS = 300_000;
const CHECK_STEPS = 100;
/** Longer than every grace of the sweeper. */
const SETTLE_MS = 3_600_000;
const SETTLE_ROUNDS = 12;

interface Pin {
  organizationId: string;
  hashes: Uint8Array[];
  until: number;
}

/** One simulated day of mixed traffic. Throws at the first moment at which something that must hold does not. */
export class Day {
  readonly world: World;
  private readonly options: DayOptions;
  private readonly traffic: Traffic;
  private readonly accountant: Accountant;
  private readonly pins = new Map<string, Pin>();
  private readonly deleted = new Set<string>();
  /** Prompts that were published whole a short while ago, by organization. */
  private readonly recent = new Map<string, Prompt[]>();
  private readonly report: DayReport = {
    requests: 0,
    blocksAsked: 0,
    blocksHit: 0,
    blocksRestored: 0,
    blocksPublished: 0,
    evictedObjects: 0,
    declinedPublishes: 0,
    workersKilled: 0,
    objectsLost: 0,
    strayObjects: 0,
    organizationsDeleted: 0,
    removals: 0,
    pins: 0,
    pinnedBlocksChecked: 0,
    largestQuotaShare: 0,
    largestTierShare: 0,
    tierHits: 0,
    tierEvictions: 0,
    byteSecondsBilled: 0,
    byteSecondsHeld: 0,
    objectsAtTheEnd: 0,
    digest: '',
  };

  constructor(options: DayOptions) {
    this.options = options;
    const { seed, organizations, workers = 4, quotaBytes = 100_000, tierBytes = 1_000_000 } = options;
    this.world = new World({ seed, organizations, workers, quotaBytes, tierBytes });
    this.traffic = new Traffic(this.world.draw);
    this.accountant = new Accountant(this.world.directory.chains);
  }

  async run(): Promise<DayReport> {
    const { world } = this;
    const { hours, organizations, requestsPerHour } = this.options;
    const end = world.now + hours * 3_600_000;
    const meanMs = 3_600_000 / (organizations * requestsPerHour);
    let sweepAt = world.now;
    for (let step = 0; world.now < end; step++) {
      const burst = 1 + world.draw(4);
      await Promise.all(Array.from({ length: burst }, (_, index) => this.request(index)));
      await this.incident();
      if (world.now >= sweepAt) {
        sweepAt = world.now + SWEEP_MS / world.workers.length;
        await this.sweep(world.workers[world.draw(world.workers.length)]!.store);
      }
      await this.endPins();
      this.checkBudgets();
      if (step % CHECK_STEPS === 0) await this.check();
      this.pass(1 + world.draw(Math.max(1, Math.round(2 * burst * meanMs))));
    }
    await this.check();
    await this.settle();
    return this.conclude();
  }

  private pass(ms: number): void {
    this.accountant.pass(this.world.now, this.world.now + ms);
    this.world.now += ms;
  }

  private async request(lane: number): Promise<void> {
    const { world, report } = this;
    const organization = world.draw(world.organizations.length);
    const organizationId = world.organizations[organization]!;
    const index = (world.draw(world.workers.length) + lane) % world.workers.length;
    const worker = world.workers[index]!;
    const prompt = this.traffic.next(organization);
    const killed = world.draw(200) === 0;
    if (killed) worker.plan.failAt = worker.plan.calls + world.draw(30);
    report.requests++;
    const tenant = await worker.store.tenant(organizationId);
    if (!tenant.ok)
      assert.ok(this.deleted.has(organizationId) || worker.plan.failAt !== undefined, tenant.fault.message);
    else await this.serve(worker, tenant.value, prompt, lane * LANE_BLOCKS);
    if (killed && world.workers[index] === worker) {
      report.workersKilled++;
      this.count(worker);
      world.startWorker(index);
    }
  }

  /** What a worker does with a prompt: look up, restore what is there, compute and publish the rest. */
  private async serve(worker: SimulatedWorker, tenant: TenantKeys, prompt: Prompt, at: number): Promise<void> {
    const { report } = this;
    const hashes = hashesOf(tenant, prompt);
    const { ttlSeconds } = prompt;
    const found = await worker.store.lookup({ tenant, hashes, ttlSeconds });
    report.blocksAsked += hashes.length;
    let have = 0;
    if (found.ok && found.value.blockCount > 0) {
      assert.ok(!this.deleted.has(tenant.organizationId), 'a deleted organization finds nothing');
      report.blocksHit += found.value.blockCount;
      const physicalBlocks = Uint32Array.from({ length: found.value.blockCount }, (_, index) => at + index);
      const run = await worker.store.restoreRun({ tenant, slices: found.value.slices, physicalBlocks });
      have = run.blocks;
      report.blocksRestored += have;
      for (let index = 0; index < have; index++) this.checkContent(worker, prompt, index, at + index);
    }
    const physical = Uint32Array.from({ length: hashes.length }, (_, index) => at + index);
    for (const block of physical) worker.engine.fill(block, contentOf(prompt, block - at));
    for (let first = have; first < hashes.length; ) {
      const count = Math.min(GROUP - (first % GROUP), hashes.length - first);
      const outcome = await worker.store.publish({
        tenant,
        hashes,
        firstBlock: first,
        physicalBlocks: physical.slice(first, first + count),
        ttlSeconds,
      }).done;
      if (!outcome.ok) {
        if (outcome.fault.kind === 'over_quota') report.declinedPublishes++;
        else assert.notEqual(outcome.fault.kind, 'internal', outcome.fault.message);
        break;
      }
      report.blocksPublished += outcome.value.written;
      first += count;
      if (first === hashes.length) this.remember(tenant.organizationId, prompt);
    }
  }

  private remember(organizationId: string, prompt: Prompt): void {
    this.recent.set(organizationId, [prompt, ...(this.recent.get(organizationId) ?? []).slice(0, 4)]);
  }

  private recentPrompt(organizationId: string): Prompt | undefined {
    const prompts = this.recent.get(organizationId) ?? [];
    return prompts[this.world.draw(Math.max(1, prompts.length))];
  }

  private checkContent(worker: SimulatedWorker, prompt: Prompt, index: number, block: number): void {
    const expected = worker.engine.expected(contentOf(prompt, index), 0, SHAPE.codec, index);
    assert.deepEqual(worker.engine.imported(block)?.[0], expected, 'a restored block has its own bytes');
  }

  /** Things that happen to a store: pins, removals, deleted organizations, lost and stray objects. */
  private async incident(): Promise<void> {
    const { world, report } = this;
    const organizationId = world.organizations[world.draw(world.organizations.length)]!;
    if (this.deleted.has(organizationId)) return;
    const kind = world.draw(1000);
    if (kind < 60) await this.pin(organizationId);
    else if (kind < 85) await this.remove(organizationId);
    else if (kind < 95) {
      report.strayObjects++;
      await world.objects.put(`kv/${organizationId}/stray/${report.strayObjects}`, world.random(10), 0);
    } else if (kind < 105) {
      const { chains } = world.directory;
      const living = chains.ofOrganization(organizationId).filter((one) => one.state === 'ready');
      const lost = living[world.draw(Math.max(1, living.length))];
      if (lost === undefined || lost.pins.size > 0) return;
      report.objectsLost++;
      await world.objects.delete(lost.key);
    } else if (kind < 108 && this.deleted.size < world.organizations.length / 20) {
      report.organizationsDeleted++;
      this.deleted.add(organizationId);
      for (const [holder, pin] of this.pins) if (pin.organizationId === organizationId) this.pins.delete(holder);
      world.deleteOrganization(organizationId);
    }
  }

  private async pin(organizationId: string): Promise<void> {
    const { world } = this;
    const holder = `pin_${this.report.pins}`;
    const held = [...this.pins.values()].filter((pin) => pin.organizationId === organizationId);
    const tenant = await world.workers[0]!.store.tenant(organizationId);
    const prompt = this.recentPrompt(organizationId);
    if (!tenant.ok || prompt === undefined || held.length >= 2) return;
    const found = await world.directory.findBlocks(
      organizationId,
      world.workers[0]!.store.namespace,
      hashesOf(tenant.value, prompt),
    );
    const readable = found.filter((row) => row.state === 'ready' && !row.expired);
    // Lost bytes are no fault of a pin: only what is whole is held to it.
    if (readable.length < prompt.blocks || readable.some((row) => !world.objects.objects.has(row.objectKey))) return;
    const hashes = hashesOf(tenant.value, prompt);
    const pinned = await world.directory.pin(organizationId, hashes.at(-1)!, holder);
    assert.ok(pinned.complete, 'a chain that is readable is pinned to its beginning');
    this.report.pins++;
    this.pins.set(holder, { organizationId, hashes, until: world.now + world.draw(12 * 3_600_000) });
  }

  private async endPins(): Promise<void> {
    for (const [holder, { organizationId, until }] of this.pins) {
      if (until > this.world.now) continue;
      this.pins.delete(holder);
      assert.ok((await this.world.directory.unpin(organizationId, holder)) > 0);
    }
  }

  private async remove(organizationId: string): Promise<void> {
    const { store } = this.world.workers[1 % this.world.workers.length]!;
    const tenant = await store.tenant(organizationId);
    const prompt = this.recentPrompt(organizationId);
    if (!tenant.ok || prompt === undefined) return;
    const removed = await store.remove(tenant.value, hashesOf(tenant.value, prompt));
    if (removed.ok) this.report.removals += removed.value.objects;
  }

  private async sweep(store: KvStore): Promise<boolean> {
    const outcome = await store.sweep();
    await this.world.directory.foldMeter(6, 1000);
    return outcome.ok && outcome.value.more;
  }

  private checkBudgets(): void {
    const { directory, quotaBytes, organizations } = this.world;
    for (const organizationId of organizations) {
      const share = directory.chains.ledger.heldBytes(organizationId) / quotaBytes;
      if (share > this.report.largestQuotaShare) this.report.largestQuotaShare = share;
    }
    assert.ok(this.report.largestQuotaShare <= 1, 'no organization holds more than its quota');
    for (const { tier } of this.world.workers) {
      const { bytes, budgetBytes } = tier.stats();
      if (bytes / budgetBytes > this.report.largestTierShare) this.report.largestTierShare = bytes / budgetBytes;
    }
    assert.ok(this.report.largestTierShare <= 1, 'no host tier holds more than its budget');
  }

  private count(worker: SimulatedWorker): void {
    const { hits, evictions } = worker.tier.stats();
    this.report.evictedObjects += worker.store.stats().evictedObjects;
    this.report.tierHits += hits;
    this.report.tierEvictions += evictions;
  }

  /** Everything that must hold at any moment and takes a look at every object. */
  private async check(): Promise<void> {
    const { directory, objects, workers, quotaBytes } = this.world;
    assert.deepEqual(directory.chains.faults(), []);
    for (const { tier } of workers) tier.checkIntegrity();
    const held = new Map<string, number>();
    for (const object of directory.chains.objects.values())
      if (object.state === 'reserved' || object.state === 'ready')
        held.set(object.organizationId, (held.get(object.organizationId) ?? 0) + object.storedBytes);
    for (const [organizationId, bytes] of held)
      assert.ok(bytes <= quotaBytes, `${organizationId} holds ${bytes} bytes`);
    for (const { organizationId, hashes } of this.pins.values()) {
      const found = await directory.findBlocks(organizationId, workers[0]!.store.namespace, hashes);
      const whole = found.filter((row) => row.state === 'ready' && !row.expired && objects.objects.has(row.objectKey));
      assert.equal(whole.length, hashes.length, 'no pinned block is lost');
      this.report.pinnedBlocksChecked += hashes.length;
    }
  }

  /** No more requests: everything that is garbage becomes old enough to be swept, and is. */
  private async settle(): Promise<void> {
    for (let round = 0; round < SETTLE_ROUNDS && (round < 2 || this.hasGarbage()); round++) {
      this.pass(SETTLE_MS);
      for (let pass = 0; pass < 1000; pass++) {
        const store = this.world.workers[pass % this.world.workers.length]!.store;
        if (!(await this.sweep(store)) && pass >= this.world.workers.length) break;
      }
    }
  }

  private hasGarbage(): boolean {
    const { objects, directory } = this.world;
    const rows = directory.chains.objects;
    return (
      objects.objects.size !== rows.size ||
      [...rows.values()].some((row) => row.state !== 'ready' || !objects.objects.has(row.key))
    );
  }

  private async conclude(): Promise<DayReport> {
    const { world, report, accountant } = this;
    const { objects, directory, organizations } = world;
    await this.check();
    const rows = [...directory.chains.objects.values()];
    assert.deepEqual(
      rows.map((row) => row.state).filter((state) => state !== 'ready'),
      [],
      'only living rows are left',
    );
    assert.deepEqual(
      rows.map((row) => row.key).filter((key) => !objects.objects.has(key)),
      [],
      'every row has its object',
    );
    const known = new Set(rows.map((row) => row.key));
    assert.deepEqual(
      [...objects.objects.keys()].filter((key) => !known.has(key)),
      [],
      'no object is left that no row names',
    );
    for (const { tier } of world.workers)
      assert.deepEqual(
        tier.keys(undefined, 100_000).filter((key) => !known.has(key)),
        [],
        'no tier keeps what the directory let go',
      );
    for (const organizationId of this.deleted)
      assert.deepEqual(
        [...objects.objects.keys()].filter((key) => key.startsWith(`kv/${organizationId}/`)),
        [],
      );
    for (const organizationId of organizations) {
      const billed = directory.chains.ledger.byteSeconds(organizationId, world.now);
      const heldFor = accountant.byteSeconds(organizationId);
      assert.ok(Math.abs(billed - heldFor) <= 1e-9 * heldFor, `${organizationId}: billed ${billed}, held ${heldFor}`);
      report.byteSecondsBilled += billed;
      report.byteSecondsHeld += heldFor;
    }
    report.objectsAtTheEnd = rows.length;
    for (const worker of world.workers) this.count(worker);
    report.digest = toHex(
      createHash('sha256')
        .update(JSON.stringify([report, rows.map((row) => [row.key, row.storedBytes, row.expiresAt])]))
        .digest(),
    );
    return report;
  }
}

function contentOf(prompt: Prompt, index: number): number {
  return (prompt.name * 64 + index) >>> 0;
}
