import { and, eq, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { leases } from '../schema.ts';
import { byteaArray } from './arrays.ts';

/**
 * Lease rows: who computes which blocks of a chain now. A row is found under the hash of the first block that its holder computes, and
 * says by eight bytes of each further block's hash how far the holder's prompt goes. The database's clock alone decides when a
 * lease has run out.
 */
export interface LeaseHolder {
  /** Of the first block: the lease's name. */
  hash: Uint8Array;
  workerId: string;
  epoch: string;
  expiresInMs: number;
  /** Index of the first block in the chain. */
  firstBlock: number;
  /** LEASE_HASH_BYTES of each claimed block's hash, in order. */
  chain: Uint8Array;
  /** Blocks from the chain's start that the holder has on its device. */
  computedBlocks: number;
  /** What a block costs the holder; undefined until it has said so. */
  blockMs: number | undefined;
}

export interface LeaseClaim {
  /** h(0), h(1), … of the chain up to the last block to be computed. */
  hashes: readonly Uint8Array[];
  /** Index of the first block to be computed. */
  firstBlock: number;
  organizationId: string;
  workerId: string;
  /** Of the claim: neither a restarted worker nor another request of the same one inherits it. */
  epoch: string;
  ttlMs: number;
}

export interface LeaseProgress {
  computedBlocks: number;
  blockMs: number;
}

/** Enough to tell chains apart that share their beginning; a collision would cost a follower some waiting, never a wrong block. */
export const LEASE_HASH_BYTES = 8;

const inMs = (ms: number) => sql<Date>`now() + ${ms} * interval '1 millisecond'`;
/** now() is when the statement came in: a lease that was taken since, and is seen, would seem to last longer than it does. */
const remainingMs = sql<number>`(extract(epoch from ${leases.expiresAt} - clock_timestamp()) * 1000)::float8`;

/** Living leases whose holder computes block `index` of this chain. */
function covers(organizationId: string, hashes: readonly Uint8Array[], index: number) {
  const start = sql`(${index} - ${leases.firstBlock}) * ${LEASE_HASH_BYTES} + 1`;
  const mark = hashes[index]!.subarray(0, LEASE_HASH_BYTES);
  return and(
    eq(leases.organizationId, organizationId),
    sql`${leases.hash} = any(${byteaArray(hashes.slice(0, index + 1))})`,
    sql`${leases.expiresAt} > now()`,
    sql`${leases.firstBlock} <= ${index}`,
    sql`substring(${leases.chain} from (${start})::int for ${LEASE_HASH_BYTES}) = ${mark}`,
  );
}

/**
 * Takes the blocks from `firstBlock` on, unless a living lease covers the first of them; returns that lease's holder then. Two claims
 * on the same first block never both succeed.
 */
export async function acquireLease(db: Database, claim: LeaseClaim): Promise<'acquired' | LeaseHolder> {
  const { hashes, firstBlock, organizationId, workerId, epoch, ttlMs } = claim;
  const hash = hashes[firstBlock]!;
  const chain = Buffer.concat(hashes.slice(firstBlock).map((one) => one.subarray(0, LEASE_HASH_BYTES)));
  for (let attempt = 0; ; attempt++) {
    const holder = await observeLease(db, organizationId, hashes, firstBlock);
    if (holder !== undefined) return holder;
    const row = { workerId, epoch, organizationId, firstBlock, chain, computedBlocks: firstBlock, blockMs: null };
    const taken = await db
      .insert(leases)
      .values({ hash, ...row, expiresAt: inMs(ttlMs) })
      .onConflictDoUpdate({
        target: leases.hash,
        set: { ...row, expiresAt: inMs(ttlMs) },
        setWhere: sql`${leases.expiresAt} <= now()`,
      })
      .returning({ hash: leases.hash });
    if (taken.length > 0) return 'acquired';
    // Taken by someone else between the two statements, and perhaps given back already.
    if (attempt === 1) return { ...row, hash, workerId: '', epoch: '', expiresInMs: 0, blockMs: undefined };
  }
}

/** False when the lease was taken over. */
export async function renewLease(db: Database, claim: LeaseClaim, progress: LeaseProgress): Promise<boolean> {
  const rows = await db
    .update(leases)
    .set({ expiresAt: inMs(claim.ttlMs), ...progress })
    .where(isHeldBy(claim))
    .returning({ hash: leases.hash });
  return rows.length > 0;
}

export async function releaseLease(db: Database, claim: LeaseClaim): Promise<void> {
  await db.delete(leases).where(isHeldBy(claim));
}

const isHeldBy = ({ hashes, firstBlock, workerId, epoch }: LeaseClaim) =>
  and(eq(leases.hash, hashes[firstBlock]!), eq(leases.workerId, workerId), eq(leases.epoch, epoch));

/** Who computes block `index` of this chain now; undefined when nobody does or the lease has run out. */
export async function observeLease(
  db: Database,
  organizationId: string,
  hashes: readonly Uint8Array[],
  index: number,
): Promise<LeaseHolder | undefined> {
  const [row] = await db
    .select({
      hash: leases.hash,
      workerId: leases.workerId,
      epoch: leases.epoch,
      expiresInMs: remainingMs,
      firstBlock: leases.firstBlock,
      chain: leases.chain,
      computedBlocks: leases.computedBlocks,
      blockMs: leases.blockMs,
    })
    .from(leases)
    .where(covers(organizationId, hashes, index))
    .orderBy(leases.firstBlock)
    .limit(1);
  return row && { ...row, chain: row.chain ?? new Uint8Array(), blockMs: row.blockMs ?? undefined };
}
