import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { AttentionReport } from '@longshore/core';
import { PARAGRAPH, said } from './testing/prompts.ts';
import { openWorkerBench, POOL_TOKEN, type RunningWorker, type WorkerBench } from './testing/worker-bench.ts';

let bench: WorkerBench;
let a: RunningWorker;
before(async () => {
  bench = await openWorkerBench();
  a = await bench.worker('a');
});
after(() => bench.close());

const ask = (body: unknown) =>
  fetch(`${a.url}/attention`, {
    method: 'POST',
    headers: { authorization: `Bearer ${POOL_TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });

test('tells what the policy does to the attention of a prompt, head by head, with a map, and keeps no block', async () => {
  const { blocks } = a.worker.parts.scheduler;
  const available = blocks.available;
  const { info } = a.worker.parts;
  // One block of queries, beyond the model's first sparse token.
  const every = Math.floor(info.denseTokens / 128) + 1;
  const response = await ask({
    input: said(PARAGRAPH.repeat(Math.ceil((info.denseTokens + 512) / 20))),
    every,
    maps: [[0, 1]],
  });
  assert.equal(response.status, 200, await response.clone().text());
  const report = (await response.json()) as AttentionReport;
  assert.equal(report.policy, info.policyJson);
  assert.equal(report.heads.length, info.layers);
  assert.ok(report.promptTokens > info.denseTokens + 128);
  assert.equal(report.measuredQueries, 128);
  const heads = report.heads.flat().map((head) => head!);
  for (const head of heads) assert.ok(head.recall > 0 && head.recall <= 1 && head.density > 0 && head.density <= 1);
  for (const head of heads.filter(({ type }) => type === 'dense')) assert.equal(head.density, 1);
  assert.ok(heads.some(({ type, density, recall }) => type === 'a_shape' && density < 1 && recall < 1));
  assert.equal(report.maps.length, 1);
  assert.match(report.maps[0]!.svg, /^<svg[\s\S]*layer 0, head 1[\s\S]*<\/svg>\n$/);
  assert.equal(blocks.available, available);
  a.worker.parts.scheduler.checkIntegrity();
});

test('refuses a head that the model lacks', async () => {
  const response = await ask({ input: said('hello'), maps: [[99, 0]] });
  assert.equal(response.status, 400);
});
