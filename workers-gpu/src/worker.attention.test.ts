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
  const response = await ask({ input: said(PARAGRAPH.repeat(20)), maps: [[0, 1]] });
  assert.equal(response.status, 200, await response.clone().text());
  const report = (await response.json()) as AttentionReport;
  const { info } = a.worker.parts;
  assert.equal(report.policy, info.policyJson);
  assert.equal(report.heads.length, info.layers);
  assert.ok(report.promptTokens > 256);
  assert.ok(report.measuredQueries >= report.promptTokens - 1);
  for (const head of report.heads.flat()) {
    // The test model is served densely: the mass is all there.
    assert.equal(head!.type, 'dense');
    assert.ok(Math.abs(head!.recall - 1) < 1e-4 && head!.density === 1);
  }
  assert.equal(report.maps.length, 1);
  assert.match(report.maps[0]!.svg, /^<svg[\s\S]*layer 0, head 1[\s\S]*<\/svg>\n$/);
  assert.equal(blocks.available, available);
  a.worker.parts.scheduler.checkIntegrity();
});

test('refuses a head that the model lacks', async () => {
  const response = await ask({ input: said('hello'), maps: [[99, 0]] });
  assert.equal(response.status, 400);
});
