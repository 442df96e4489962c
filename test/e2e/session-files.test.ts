import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { runSql } from '@longshore/db/testing';
import { startTestPlatform, type TestPlatform } from '../harness/platform.ts';

/** What one can do with a session besides asking it, over HTTP through workerd and with the longshore command. */
const CLI = fileURLToPath(new URL('../../infra/src/cli.ts', import.meta.url));
let platform: TestPlatform;
let folder: string;
let model: string;

before(async () => {
  platform = await startTestPlatform({ model: 'smollm2' });
  model = platform.model.name;
  folder = await mkdtemp(join(tmpdir(), 'longshore-files-'));
});
after(async () => {
  await platform?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const call = (method: string, path: string, body?: unknown): Promise<Response> =>
  fetch(`${platform.baseUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${platform.apiKey}`, 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });

async function json(response: Response, status = 200) {
  const text = await response.text();
  assert.equal(response.status, status, text);
  return JSON.parse(text);
}

const DOCUMENT = Array.from(
  { length: 60 },
  (_, day) => `On day ${day + 1} the ferry carried ${40 + ((day * 37) % 60)} people across the sound.`,
).join(' ');
const question = {
  messages: [{ role: 'user', content: 'How many people crossed on day 3?' }],
  max_tokens: 8,
  temperature: 0,
  return_token_ids: true,
};
const create = async (greeting: string) =>
  json(
    await call('POST', '/sessions', { model, messages: [{ role: 'user', content: `${greeting} ${DOCUMENT}` }] }),
    201,
  );
const ask = async (id: string) => json(await call('POST', `/sessions/${id}/turns`, question));

/** Answers as soon as a worker is back. */
async function askPatiently(id: string) {
  for (const end = Date.now() + 60_000; ; ) {
    const response = await call('POST', `/sessions/${id}/turns`, question);
    if (response.status < 502 || Date.now() > end) return json(response);
    await response.text();
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

function longshore(...args: string[]) {
  const env = { ...process.env, LONGSHORE_URL: platform.url, LONGSHORE_API_KEY: platform.apiKey };
  return promisify(execFile)(process.execPath, [CLI, ...args], { env });
}

test('a session is forked, cut back and changed over HTTP, and says what of its cache was used', async () => {
  const session = await create('A.');
  const first = await ask(session.id);
  const fork = await json(await call('POST', `/sessions/${session.id}/fork`, { label: 'Branch', turn: 0 }), 201);
  assert.deepEqual([fork.forked_from, fork.label, fork.token_count], [session.id, 'Branch', session.token_count]);
  const again = await ask(fork.id);
  assert.deepEqual(again.choices[0].token_ids, first.choices[0].token_ids);
  const { longshore: report } = again.usage;
  assert.ok(report.blocks_hit > 0, JSON.stringify(report));
  // On a busy machine computing may win a block's race against loading it; nothing else may be missed.
  assert.ok(report.miss === null || report.miss.reason === 'load_slower_than_recompute', JSON.stringify(report));
  const cut = await json(await call('POST', `/sessions/${session.id}/truncate`, { tokens: 300 }));
  assert.equal(cut.token_count, 300);
  const changed = await json(await call('PATCH', `/sessions/${fork.id}`, { pinned: true, ttl_seconds: 86_400 }));
  assert.deepEqual([changed.pinned, changed.ttl_seconds], [true, 86_400]);
  await json(await call('DELETE', `/sessions/${session.id}`));
  assert.equal((await ask(fork.id)).session_id, fork.id);
});

test('a session is exported to a file and imported from it with the command; a damaged file is refused', async () => {
  const session = await create('B.');
  const file = join(folder, 'session.lssx');
  await longshore('sessions', 'export', session.id, '--out', file);
  const { stdout } = await longshore('sessions', 'import', file, '--label', 'Moved');
  const id = stdout.split(/\s/)[0]!;
  assert.match(stdout, /(\d+) of \1 blocks from the file\n$/);
  const moved = await json(await call('GET', `/sessions/${id}`));
  assert.deepEqual([moved.label, moved.token_count, moved.status], ['Moved', session.token_count, 'ready']);
  assert.deepEqual((await ask(id)).choices[0].token_ids, (await ask(session.id)).choices[0].token_ids);

  const bytes = await readFile(file);
  bytes[Math.floor(bytes.length / 2)]! ^= 4;
  await writeFile(file, bytes);
  await assert.rejects(longshore('sessions', 'import', file), /damaged in frame/);
  await assert.rejects(longshore('sessions', 'export', 'ses_none'), /No session/);
});

test('days later, on workers that never knew it, a session resumes from the store with the same answer', async () => {
  const session = await create('C.');
  const twin = await json(await call('POST', `/sessions/${session.id}/fork`), 201);
  const expected = await ask(twin.id);
  const six = "interval '6 days'";
  await runSql(
    platform.databaseUrl,
    `update sessions set created_at = created_at - ${six}, last_used_at = last_used_at - ${six}, expires_at = expires_at - ${six}`,
  );
  await runSql(
    platform.databaseUrl,
    `update kv_objects set created_at = created_at - ${six}, last_used_at = last_used_at - ${six}, expires_at = expires_at - ${six}`,
  );
  const ids = platform.workers.map((worker) => worker.id);
  for (const id of ids) await platform.killWorker(id);
  for (const id of ids) await platform.startWorker(id);
  const resumed = await askPatiently(session.id);
  assert.deepEqual(resumed.choices[0].token_ids, expected.choices[0].token_ids);
  assert.ok(resumed.usage.longshore.blocks_hit > 0, JSON.stringify(resumed.usage));
  assert.notEqual(resumed.usage.longshore.tier, 'device');
  const { expires_at } = await json(await call('GET', `/sessions/${session.id}`));
  assert.ok(expires_at - Date.now() / 1000 > 6 * 86_400, 'its life counts from its last use');
});
