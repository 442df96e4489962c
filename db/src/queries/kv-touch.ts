import { type SQL, sql } from 'drizzle-orm';
import type { Database } from '../client.ts';
import { kvBlocks, kvObjects } from '../schema.ts';
import { byteaArray, textArray } from './arrays.ts';
import { type Executor, lockObjects, rowsOf, seconds } from './kv-chain.ts';

/** Parents are kept so much longer than their child needs, so that the next child need not slide the whole chain again. */
export const PARENT_SLACK_SECONDS = 60;

/**
 * Slides the chain's expiry to now + ttl where that is later, and its last use. `hashes`: h(0) … of the used prefix; ancestors that
 * are missing from it are slid too, so that no parent expires before its child.
 */
export async function touchBlocks(
  db: Database,
  organizationId: string,
  hashes: readonly Uint8Array[],
  ttlSeconds: number,
): Promise<void> {
  if (hashes.length === 0) return;
  const slide = (which: SQL) =>
    rowsOf<{ key: string; firstToken: number; expiresAt: string }>(
      db,
      sql`with used as (
          select distinct b.object_key as key from ${kvBlocks} b
          where b.hash = any(${byteaArray(hashes)}) and b.organization_id = ${organizationId}),
        held as (
          select o.key from ${kvObjects} o join used using (key) where o.state = 'ready' and ${which}
          order by o.first_token desc, o.key for update of o),
        slid as (
          update ${kvObjects} set last_used_at = now(), expires_at = greatest(expires_at, now() + ${seconds(ttlSeconds)})
          where key in (select key from held) and state = 'ready'
          returning key, first_token, expires_at)
        select key, first_token as "firstToken", expires_at::text as "expiresAt" from slid order by first_token limit 1`,
    );
  const [first] = await slide(sql`true`);
  if (!first) return;
  // An object that took another's place meanwhile was not in the first statement's sight.
  await slide(sql`o.expires_at < now() + ${seconds(ttlSeconds - 1)}`);
  if (first.firstToken > 0) await slideAncestors(db, first.key, first.expiresAt, 0);
}

/**
 * The parents of this object expire after it, or are slid to `slackSeconds` after it, and theirs with them. The walk ends where
 * nothing has to be slid: above, all expire later still.
 */
export async function slideAncestors(
  db: Executor,
  key: string,
  expiresAt: string,
  slackSeconds = PARENT_SLACK_SECONDS,
): Promise<void> {
  const target = sql`${expiresAt}::timestamptz + ${seconds(slackSeconds)}`;
  const parents = (of: SQL) => sql`select o.key from ${kvBlocks} c join ${kvBlocks} p on p.hash = c.parent_hash
    and p.object_key <> c.object_key join ${kvObjects} o on o.key = p.object_key and o.state = 'ready' ${of}`;
  const late = await rowsOf<{ key: string }>(
    db,
    sql`with recursive up(key) as (
        ${parents(sql`where c.object_key = ${key} and o.expires_at < ${expiresAt}::timestamptz`)}
        union ${parents(sql`join up on up.key = c.object_key where o.expires_at < ${target}`)})
      select key from up`,
  );
  if (late.length === 0) return;
  const keys = await lockObjects(
    db,
    late.map((row) => row.key),
  );
  await db.execute(sql`update ${kvObjects} set expires_at = greatest(expires_at, ${target})
    where key = any(${textArray(keys)}) and state = 'ready'`);
}
