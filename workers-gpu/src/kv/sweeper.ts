import type { StoredKey } from '@longshore/db';
import { faultOf } from './fault.ts';
import type { SweepReport } from './kv-store.ts';
import { KEY_PREFIX } from './object-writer.ts';
import { done, type Outcome, type StoreFault } from './outcome.ts';
import type { BlockDirectory, ObjectInfo } from './ports.ts';
import type { TieredObjects } from './tiers/tiered-objects.ts';

/** Seconds; each must be longer than the slowest honest publish or read. */
export interface SweepAges {
  /** After which a reservation's publisher is taken for dead. */
  abandoned: number;
  /** Between retiring an object and deleting its bytes: longer than the longest read. */
  grace: number;
  /** After which an object that no row names, or a tail that no session names, is taken for garbage. */
  orphan: number;
}

export const DEFAULT_SWEEP_AGES: SweepAges = { abandoned: 600, grace: 300, orphan: 1800 };

/** Rows, objects or keys of one kind that one pass looks at. */
const LIMIT = 500;
const CONCURRENT_DELETES = 8;
/** Storage is metered to the microsecond for so long; then by the hour. */
const METER_HOURS = 48;
const METER_LIMIT = 20;

/** Runs one part of a pass and puts its count into the report. */
type Step = (name: Exclude<keyof SweepReport, 'more'> | undefined, run: () => Promise<number>) => Promise<void>;

/**
 * Finds what crashes, expiry and deletes leave behind. Any number of workers may sweep at once: every step is idempotent and checks
 * the state that it starts from. The delete order is kept throughout: retired -> grace -> bytes -> row.
 */
export class Sweeper {
  private readonly objects: TieredObjects;
  private readonly directory: BlockDirectory;
  private readonly ages: SweepAges;
  private readonly onFault: (fault: StoreFault) => void;
  /** Milliseconds since 1970, as the object store's clock counts them. */
  private readonly date: () => number;
  /** Where the walk over the bucket goes on; undefined: at its start. */
  private cursor: string | undefined;

  constructor(
    objects: TieredObjects,
    directory: BlockDirectory,
    ages: SweepAges,
    onFault: (fault: StoreFault) => void,
    date: () => number,
  ) {
    this.date = date;
    this.objects = objects;
    this.directory = directory;
    this.ages = ages;
    this.onFault = onFault;
  }

  /** One bounded pass. A step that fails does not keep the others from running; the first fault is the outcome then. */
  async sweep(): Promise<Outcome<SweepReport>> {
    const { directory, ages } = this;
    const report: SweepReport = {
      abandoned: 0,
      expired: 0,
      orphaned: 0,
      orphanTails: 0,
      expiredSessions: 0,
      deleted: 0,
      orphanObjects: 0,
      lostObjects: 0,
      more: false,
    };
    let firstFault: StoreFault | undefined;
    const step: Step = async (name, run) => {
      try {
        const count = await run();
        if (name) report[name] = count;
        report.more ||= count >= LIMIT;
      } catch (error) {
        const fault = faultOf(error);
        this.onFault(fault);
        firstFault ??= fault;
      }
    };
    await step('expiredSessions', () => directory.expireSessions(LIMIT));
    await step('abandoned', () => directory.retireAbandoned(ages.abandoned, LIMIT));
    await step('expired', () => directory.retireExpired(LIMIT));
    await step('orphaned', () => directory.retireOrphans(ages.grace, LIMIT));
    await step('orphanTails', () => directory.retireOrphanTails(ages.orphan, LIMIT));
    await step('deleted', () => this.deleteRetired());
    await this.walk(step);
    await step(undefined, () => directory.deleteStaleLeases(LIMIT));
    await step(undefined, () => directory.destroyRetiredKeys(LIMIT));
    await step(undefined, () => directory.foldMeter(METER_HOURS, METER_LIMIT));
    // Other workers delete objects too: their near copies here are found by asking.
    await step(undefined, () => this.objects.reconcile((keys) => directory.findUnknownKeys(keys)));
    report.more ||= this.cursor !== undefined;
    return firstFault ? { ok: false, fault: firstFault } : done(report);
  }

  private async deleteRetired(): Promise<number> {
    const keys = await this.directory.findDeletable(this.ages.grace, LIMIT);
    return this.deleteBytes(keys, (gone) => this.directory.deleteRows(gone));
  }

  /**
   * One page of the walk that compares bucket and directory, both in the order of the keys. The next pass goes on behind it, whether or
   * not this one met faults: the walk comes round.
   */
  private async walk(step: Step): Promise<void> {
    const after = this.cursor;
    let page: ObjectInfo[] | undefined;
    await step(undefined, async () => {
      page = await this.objects.list(KEY_PREFIX, after, LIMIT);
      return 0;
    });
    if (!page) return;
    const found = page;
    let end = found.length < LIMIT ? undefined : found.at(-1)!.key;
    await step('lostObjects', async () => {
      const rows = await this.directory.findReadyKeys(after, end, this.ages.orphan, LIMIT);
      if (rows.length === LIMIT) end = rows.at(-1)!.key;
      return this.quarantineLost(rows, new Set(found.map((info) => info.key)));
    });
    await step('orphanObjects', async () => {
      const oldEnough = this.date() - 1000 * this.ages.orphan;
      const keys = found.filter((info) => info.modifiedAt.getTime() <= oldEnough).map((info) => info.key);
      return this.deleteBytes(await this.directory.findUnknownKeys(keys), async () => {});
    });
    this.cursor = end;
  }

  /** Rows whose object the listing lacks, and that a second look does not find either: it may have been put meanwhile. */
  private async quarantineLost(rows: readonly StoredKey[], listed: ReadonlySet<string>): Promise<number> {
    let count = 0;
    for (const { key, organizationId } of rows) {
      if (listed.has(key) || (await this.objects.head(key)) !== undefined) continue;
      if (await this.directory.quarantine(organizationId, key, 'its object is not in the bucket')) count++;
    }
    return count;
  }

  /**
   * In the given order, a few at a time; `afterwards` hears of each batch's keys whose bytes are gone. One key that cannot be deleted
   * does not stand in the others' way: the first such fault is thrown at the end. Returns how many are gone.
   */
  private async deleteBytes(keys: readonly string[], afterwards: (gone: string[]) => Promise<void>): Promise<number> {
    const faults: unknown[] = [];
    let count = 0;
    for (let start = 0; start < keys.length; start += CONCURRENT_DELETES) {
      const batch = keys.slice(start, start + CONCURRENT_DELETES);
      const results = await Promise.allSettled(batch.map((key) => this.objects.delete(key)));
      const gone = batch.filter((_, index) => results[index]!.status === 'fulfilled');
      for (const result of results) if (result.status === 'rejected') faults.push(result.reason);
      await afterwards(gone);
      count += gone.length;
    }
    if (faults.length > 0) throw faults[0];
    return count;
  }
}
