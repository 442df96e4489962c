import { and, eq, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { leases } from '../schema.ts';

/** Lease rows: who computes from the block with this hash on. The database's clock alone decides when one has run out. */
export interface LeaseHolder {
  workerId: string;
  epoch: string;
  expiresInMs: number;
}

export interface LeaseClaim {
  hash: Uint8Array;
  organizationId: string;
  workerId: string;
  /** Of the worker process: a restarted worker does not inherit its predecessor's leases. */
  epoch: string;
  ttlMs: number;
}

const inMs = (ms: number) => sql<Date>`now() + ${ms} * interval '1 millisecond'`;
const remainingMs = sql<number>`(extract(epoch from ${leases.expiresAt} - now()) * 1000)::float8`;

/** Takes a free or run-out lease. Returns its holder when someone else (or this process already) has it. */
export async function acquireLease(db: Database, claim: LeaseClaim): Promise<'acquired' | LeaseHolder> {
  const { ttlMs, ...row } = claim;
  const taken = await db
    .insert(leases)
    .values({ ...row, expiresAt: inMs(ttlMs) })
    .onConflictDoUpdate({
      target: leases.hash,
      set: { workerId: row.workerId, epoch: row.epoch, expiresAt: inMs(ttlMs) },
      setWhere: sql`${leases.expiresAt} <= now()`,
    })
    .returning({ hash: leases.hash });
  if (taken.length > 0) return 'acquired';
  const holder = await observeLease(db, row.hash);
  return holder ?? { workerId: '', epoch: '', expiresInMs: 0 };
}

/** False when the lease was taken over. */
export async function renewLease(db: Database, claim: LeaseClaim): Promise<boolean> {
  const rows = await db
    .update(leases)
    .set({ expiresAt: inMs(claim.ttlMs) })
    .where(and(eq(leases.hash, claim.hash), eq(leases.workerId, claim.workerId), eq(leases.epoch, claim.epoch)))
    .returning({ hash: leases.hash });
  return rows.length > 0;
}

export async function releaseLease(db: Database, claim: Omit<LeaseClaim, 'ttlMs'>): Promise<void> {
  await db
    .delete(leases)
    .where(and(eq(leases.hash, claim.hash), eq(leases.workerId, claim.workerId), eq(leases.epoch, claim.epoch)));
}

/** The present holder; undefined when the lease is free or has run out. */
export async function observeLease(db: Database, hash: Uint8Array): Promise<LeaseHolder | undefined> {
  const [row] = await db
    .select({ workerId: leases.workerId, epoch: leases.epoch, expiresInMs: remainingMs })
    .from(leases)
    .where(and(eq(leases.hash, hash), sql`${leases.expiresAt} > now()`));
  return row;
}
