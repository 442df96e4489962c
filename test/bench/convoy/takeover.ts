import { runSql } from '@longshore/db/testing';
import type { TestPlatform } from '../../harness/platform.ts';
import { untilQuiet } from './counters.ts';
import { freshDocument, question } from './prompts.ts';
import { ask } from './worker-client.ts';

export interface TakeoverResult {
  bench: 'convoy';
  phase: 'takeover';
  prompt_tokens: number;
  /** Blocks that the leader had computed at its last sign of life. */
  leader_blocks: number;
  /** From the leader's last renewal until the follower had the lease, by the database's clock. */
  takeover_ms: number;
  /** Of the follower, the wait for the dead leader included. */
  follower_ttft_ms: number;
  /** Blocks that the follower restored instead of computing them. */
  restored_blocks: number;
  same_tokens: boolean;
}

interface LeaseRow {
  worker_id: string;
  computed_blocks: number;
  expires_ms: number;
}

const LEASES =
  'select worker_id, computed_blocks, (extract(epoch from expires_at) * 1000)::float8 as expires_ms from leases';
const WITHIN_MS = 120_000;

/**
 * The first worker prefills a document, the second one follows; the first is killed (SIGKILL) once it has computed `afterBlocks`. Every
 * renewal sets expires_at to its own time + the same ttl, so the difference of two of them is the time between two renewals.
 */
export async function takeover(
  platform: TestPlatform,
  characters: number,
  afterBlocks: number,
  answerTokens: number,
): Promise<TakeoverResult> {
  const [leader, follower] = platform.workers.map(({ id }) => id) as [string, string];
  const document = freshDocument(Math.floor(performance.now()), characters);
  // Earlier requests' leases must not be taken for this one's.
  await untilQuiet(platform);
  while ((await leases(platform)).length > 0) await new Promise((resolve) => setTimeout(resolve, 50));
  const before = await restoredBlocks(platform, follower);
  const led = ask(platform, leader, document, question(0), answerTokens).catch(() => undefined);
  let last = await leaseOf(platform, leader, () => true);
  const following = ask(platform, follower, document, question(0), answerTokens);
  last = await leaseOf(platform, leader, (row) => row.computed_blocks >= afterBlocks);
  await platform.killWorker(leader);
  const end = performance.now() + WITHIN_MS;
  let taken: LeaseRow | undefined;
  while (taken === undefined) {
    if (performance.now() > end) throw new Error('the follower never took over');
    const rows = await leases(platform);
    last = rows.find((row) => row.worker_id === leader) ?? last;
    taken = rows.find((row) => row.worker_id === follower);
  }
  const seen = await following;
  await led;
  const restored = (await restoredBlocks(platform, follower)) - before;
  const alone = await ask(platform, follower, document, question(0), answerTokens, { read: false, write: false });
  return {
    bench: 'convoy',
    phase: 'takeover',
    prompt_tokens: seen.promptTokens,
    leader_blocks: last.computed_blocks,
    takeover_ms: Math.round(taken.expires_ms - last.expires_ms),
    follower_ttft_ms: Math.round(seen.ttftMs),
    restored_blocks: restored,
    same_tokens: JSON.stringify(alone.tokens) === JSON.stringify(seen.tokens),
  };
}

const leases = async (platform: TestPlatform) => (await runSql(platform.databaseUrl, LEASES)) as unknown as LeaseRow[];

async function leaseOf(platform: TestPlatform, workerId: string, is: (row: LeaseRow) => boolean): Promise<LeaseRow> {
  const end = performance.now() + WITHIN_MS;
  for (;;) {
    const row = (await leases(platform)).find((one) => one.worker_id === workerId && is(one));
    if (row !== undefined) return row;
    if (performance.now() > end) throw new Error(`${workerId} has no such lease`);
  }
}

async function restoredBlocks(platform: TestPlatform, workerId: string): Promise<number> {
  const { kv } = (await platform.workerStats(workerId)) as { kv: { restoredBlocks: number } };
  return kv.restoredBlocks;
}
