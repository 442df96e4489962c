import { sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { kvMeterEvents, kvMeterHours, kvObjects } from '../schema.ts';
import { rowsOf } from './kv-chain.ts';

/**
 * Storage as it is billed: the exact integral of an organization's ready bytes over time. Events are linear in time, so the integral
 * over [from, to) is the sum of delta x (to - max(at, from)) over all events before `to`.
 */

/**
 * Byte-seconds that the organization held in [from, to), as a decimal with microseconds exact. Whole hours once the time is older
 * than the meter's window (foldMeter): `from` and `to` are then rounded down to the hour.
 */
export async function byteSeconds(db: Database, organizationId: string, from: Date, to: Date): Promise<string> {
  const [start, end] = [from.toISOString(), to.toISOString()];
  const [row] = await rowsOf<{ total: string }>(
    db,
    sql`select (
      coalesce((select sum(delta_bytes * extract(epoch from ${end}::timestamptz - greatest(at, ${start}::timestamptz)))
        from ${kvMeterEvents} where organization_id = ${organizationId} and at < ${end}::timestamptz), 0)
      + coalesce((select sum(byte_seconds) from ${kvMeterHours} where organization_id = ${organizationId}
        and hour >= date_trunc('hour', ${start}::timestamptz) and hour < date_trunc('hour', ${end}::timestamptz)), 0)
      )::text as total`,
  );
  return row!.total;
}

/**
 * Folds events older than `keepHours` into whole hours, for at most `limit` organizations that have such events more than a day older
 * still. Returns how many organizations were folded.
 */
export async function foldMeter(db: Database, keepHours: number, limit: number): Promise<number> {
  const horizon = sql`date_trunc('hour', now() - ${keepHours} * interval '1 hour')`;
  const due = await rowsOf<{ organization: string }>(
    db,
    sql`select organization_id as organization from ${kvMeterEvents} group by 1
      having min(at) < ${horizon} - interval '1 day' order by 1 limit ${limit}`,
  );
  for (const { organization } of due) {
    await db.execute(sql`with old as (
        delete from ${kvMeterEvents} where organization_id = ${organization} and at < ${horizon} returning at, delta_bytes),
      hours as (
        select generate_series(date_trunc('hour', min(at)), ${horizon} - interval '1 hour', interval '1 hour') as hour from old),
      folded as (
        insert into ${kvMeterHours} (organization_id, hour, byte_seconds)
        select ${organization}, hour,
          sum(delta_bytes * extract(epoch from hour + interval '1 hour' - greatest(at, hour)))
        from hours join old on old.at < hour + interval '1 hour' group by hour
        on conflict (organization_id, hour) do update set byte_seconds = kv_meter_hours.byte_seconds + excluded.byte_seconds)
      insert into ${kvMeterEvents} (organization_id, at, delta_bytes)
      select ${organization}, ${horizon}, sum(delta_bytes) from old having sum(delta_bytes) <> 0`);
  }
  return due.length;
}

/** Every way in which the ledger contradicts the objects; empty when it is whole. For tests and `longshore doctor`. */
export async function checkLedger(db: Database): Promise<string[]> {
  const rows = await rowsOf<{ fault: string }>(
    db,
    sql`with held as (
        select organization_id, sum(stored_bytes) as bytes,
          coalesce(sum(stored_bytes) filter (where state = 'ready'), 0) as ready
        from ${kvObjects} where state in ('reserved', 'ready') group by 1),
      metered as (select organization_id, sum(delta_bytes) as bytes from ${kvMeterEvents} group by 1)
      select 'account of ' || a.organization_id || ' says ' || a.held_bytes || ' bytes, its objects ' || coalesce(h.bytes, 0) as fault
        from kv_accounts a left join held h using (organization_id) where a.held_bytes <> coalesce(h.bytes, 0)
      union all
      select 'meter of ' || coalesce(m.organization_id, h.organization_id) || ' says ' || coalesce(m.bytes, 0) || ' bytes, its objects '
        || coalesce(h.ready, 0)
        from metered m full join held h using (organization_id) where coalesce(m.bytes, 0) <> coalesce(h.ready, 0)
      union all
      select 'block ' || encode(c.hash, 'hex') || ' lives without its parent' from kv_blocks c
        join kv_objects o on o.key = c.object_key and o.state = 'ready'
        where c.block_index > 0 and not exists (select 1 from kv_blocks p join kv_objects po on po.key = p.object_key
          where p.hash = c.parent_hash and po.state in ('ready', 'quarantined'))
      union all
      select 'block ' || encode(c.hash, 'hex') || ' outlives its parent' from kv_blocks c
        join kv_objects o on o.key = c.object_key and o.state = 'ready'
        join kv_blocks p on p.hash = c.parent_hash join kv_objects po on po.key = p.object_key and po.state = 'ready'
        where po.expires_at < o.expires_at`,
  );
  return rows.map((row) => row.fault);
}
