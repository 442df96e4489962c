import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type LocalS3, startLocalS3 } from '@longshore/infra/testing';
import { type BrokenProxy, startBrokenProxy } from '../harness/broken-proxy.ts';
import { startTestPlatform, type TestPlatform } from '../harness/platform.ts';

/** The whole platform over an S3 whose answers stall, break off or arrive with another bit: the answers stay right. */

let s3: LocalS3;
let proxy: BrokenProxy;
let platform: TestPlatform;
let workerId: string;
before(async () => {
  s3 = await startLocalS3();
  proxy = await startBrokenProxy(Number(new URL(s3.options.endpoint!).port));
  platform = await startTestPlatform({
    workers: 1,
    env: {
      S3_ENDPOINT: `http://127.0.0.1:${proxy.port}`,
      S3_BUCKET: s3.options.bucket,
      S3_ACCESS_KEY_ID: s3.options.accessKeyId,
      S3_SECRET_ACCESS_KEY: s3.options.secretAccessKey,
      // So that only S3 has what the worker's restart took from the device, and that it is read.
      LONGSHORE_HOST_TIER_BYTES: '0',
      LONGSHORE_DISK_TIER_BYTES: '0',
      LONGSHORE_RESTORE: 'always',
    },
  });
  workerId = platform.workers[0]!.id;
});
after(async () => {
  await platform?.[Symbol.asyncDispose]();
  await proxy?.close();
  await s3?.stop();
});

async function ask(content: string, cache: { read: boolean; write: boolean }) {
  const response = await fetch(`${platform.baseUrl}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${platform.apiKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      model: platform.model.name,
      messages: [{ role: 'user', content }],
      max_tokens: 8,
      temperature: 0,
      return_token_ids: true,
      cache,
    }),
  });
  const text = await response.text();
  assert.equal(response.status, 200, text);
  const answer = JSON.parse(text);
  return { ids: answer.choices[0].token_ids as number[], cached: answer.usage.prompt_tokens_details.cached_tokens };
}

interface KvStats {
  publishedBlocks: number;
  publishQueueBlocks: number;
  publishesRunning: number;
}
const kvStats = async () => ((await platform.workerStats(workerId)) as unknown as { kv: KvStats }).kv;

async function until(probe: () => Promise<boolean>, what: string): Promise<void> {
  for (const end = Date.now() + 60_000; !(await probe().catch(() => false)); ) {
    assert.ok(Date.now() < end, `not within a minute: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function restartWorker(): Promise<void> {
  await platform.killWorker(workerId);
  await platform.startWorker(workerId);
  await until(async () => (await platform.workerStats(workerId)).state === 'ready', 'the worker is back');
}

async function metric(name: string): Promise<number> {
  const headers = { authorization: `Bearer ${platform.poolToken}` };
  const text = await (await fetch(`${platform.workers[0]!.url}/metrics`, { headers })).text();
  return Number(new RegExp(`^${name.replaceAll(/[{}]/g, '\\$&')} (\\S+)$`, 'm').exec(text)?.[1]);
}

const FAULTS = { none: undefined, reset: 'unavailable', stall: 'timeout', bit_flip: 'quarantined' } as const;

for (const [breakage, kind] of Object.entries(FAULTS) as [keyof typeof FAULTS, string | undefined][]) {
  test(`S3 bodies, breakage ${breakage}: the answer is that of an uncached run, and the metrics say what happened`, async () => {
    proxy.breakage = 'none';
    const prompt = `${breakage}. ${'The ferry leaves at noon and comes back at night. '.repeat(60)}`;
    const expected = await ask(prompt, { read: false, write: false });
    await ask(prompt, { read: true, write: true });
    await until(async () => {
      const { publishedBlocks, publishQueueBlocks, publishesRunning } = await kvStats();
      return publishedBlocks > 0 && publishQueueBlocks + publishesRunning === 0;
    }, 'the prompt is published');
    await restartWorker();
    proxy.breakage = breakage;
    const before = proxy.broken;
    const answer = await ask(prompt, { read: true, write: false });
    proxy.breakage = 'none';
    assert.deepEqual(answer.ids, expected.ids);
    if (kind === undefined) return assert.ok(answer.cached > 256, 'whole, it is restored');
    assert.ok(proxy.broken > before, 'S3 was read, and broken');
    assert.equal(answer.cached, 0);
    assert.ok((await metric(`longshore_worker_store_faults_total{kind="${kind}"}`)) >= 1, kind);
    const quarantined = await metric('longshore_worker_store_quarantined_objects_total');
    assert.equal(quarantined > 0, breakage === 'bit_flip', `${quarantined} quarantined`);
  });
}
