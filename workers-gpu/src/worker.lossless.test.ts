import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { generateRequestSchema } from '@longshore/core';
import type { Engine, StepItem } from '@longshore/native';
import { seededRandom } from './domain/seeded-random.ts';
import { TierSpeeds } from './domain/tier-speeds.ts';
import type { ObjectStore } from './kv/index.ts';
import { openModel } from './open-model.ts';
import { PrefixRestorer } from './serving/prefix-restorer.ts';
import { jsonLogger } from './telemetry/log.ts';
import { repositoryFile } from './testing/test-model.ts';
import { openWorkerBench, type WorkerBench } from './testing/worker-bench.ts';
import { Worker } from './worker.ts';

/**
 * With or without the cache, the same logits, bit by bit: random prompts over two real workers that share a real store, whatever is
 * resident, restored, computed beside a restore, batched, split or evicted. LONGSHORE_TEST_SEED repeats a run.
 */

const SEED = Number(process.env.LONGSHORE_TEST_SEED ?? 20_261_124);
const CASES = 200;
const ANSWER_TOKENS = 3;
const MOST_TOKENS = 900;
const VOCABULARY = 1000;
/** Blocks of one worker's pool: three prompts fit, so that every few requests evict what others left. */
const POOL_BLOCKS = 24;
const BLOCK_BYTES = 2 * 2 * 2 * 16 * 2 * 128;

interface Case {
  id: number;
  tokens: number[];
  read: boolean;
  write: boolean;
}

interface Seen {
  logits: Float32Array[];
  tokens: number[];
  restored: number;
  cached: number;
}

/** The engine with its eyes open: the logits of every drawn token, under the seed of its request. */
function recording(engine: Engine, seen: Map<number, Float32Array[]>): Engine {
  return {
    ...engine,
    info: engine.info,
    exportBlocks: engine.exportBlocks.bind(engine),
    importBlocks: engine.importBlocks.bind(engine),
    importSealed: engine.importSealed.bind(engine),
    stats: engine.stats.bind(engine),
    close: engine.close.bind(engine),
    async step(items: StepItem[], cancel?: Int32Array) {
      const outputs = await engine.step(
        items.map((item) => ({ ...item, wantLogits: item.sample ?? false })),
        cancel,
      );
      outputs.forEach(({ logits }, index) => {
        const { sampling, sample } = items[index]!;
        if (!sample) return;
        const of = seen.get(sampling!.seed!) ?? [];
        of.push(logits!.slice(-engine.info.vocab));
        seen.set(sampling!.seed!, of);
      });
      return outputs;
    },
  };
}

/** A store whose reads take their time, so that prompts are computed meanwhile, and end in any order. */
function dawdling(store: ObjectStore, delay: () => number): ObjectStore {
  return {
    ...store,
    async readInto(key, target, options) {
      const half = Math.floor(target.length / 2);
      await store.readInto(key, target, { ...options, onProgress: undefined });
      options?.onProgress?.(half);
      await sleep(delay());
      options?.onProgress?.(target.length);
    },
  };
}

let bench: WorkerBench;
let reference: Engine;
const closers: Array<() => Promise<void>> = [];
before(async () => {
  bench = await openWorkerBench();
  reference = (await openFixture(16)).engine;
});
after(async () => {
  for (const close of closers) await close();
  await bench.close();
});

async function openFixture(kvBlocks: number, maxBatchTokens = 2048) {
  const opened = await openModel({
    model: repositoryFile('infra', 'fixture-model'),
    backend: 'cpu',
    threads: 2,
    kvBytes: kvBlocks * BLOCK_BYTES,
    kvDtype: 'bf16',
    touchKv: false,
    policy: 'dense',
    maxBatchTokens,
    maxRunning: 8,
  });
  assert.equal(opened.kvBlocks, kvBlocks);
  closers.push(() => opened.engine.close());
  return opened;
}

/** Nothing cached, nothing batched, one step for the prompt. */
async function expected(tokens: readonly number[], answer: readonly number[]): Promise<Float32Array[]> {
  const blockTable = Uint32Array.from({ length: 16 }, (_, index) => index);
  const [whole] = await reference.step([
    { tokens: Uint32Array.from(tokens), position: 0, blockTable, wantLogits: true },
  ]);
  const rows = [whole!.logits!.slice(-reference.info.vocab)];
  for (let index = 0; index + 1 < answer.length; index++) {
    const position = tokens.length + index;
    const next = { tokens: Uint32Array.of(answer[index]!), position, blockTable, wantLogits: true };
    rows.push((await reference.step([next]))[0]!.logits!.slice());
  }
  return rows;
}

/** A worker that tries every restore, and whose restores compete with a computation that looks as slow as `random` makes it. */
async function startWorker(
  name: string,
  maxBatchTokens: number,
  codec: 'raw' | 'lossless',
  random: (n: number) => number,
) {
  const seen = new Map<number, Float32Array[]>();
  const opened = await openFixture(POOL_BLOCKS, maxBatchTokens);
  const objects = dawdling(bench.objects, () => random(12));
  const model = { ...opened, engine: recording(opened.engine, seen) };
  const config = { ...bench.config(name), codec, maxBatchTokens, maxRunning: 6, restorePolicy: 'always' as const };
  const log = jsonLogger({}, () => {});
  const worker = new Worker({
    config,
    model,
    objects,
    database: bench.client.db,
    log,
    onFault: (error) => assert.fail(String(error)),
  });
  closers.unshift(() => worker.close());
  const { parts } = worker;
  parts.restorer = new PrefixRestorer({
    kv: parts.kv,
    transfer: new TierSpeeds(),
    compute: { estimateMs: (start, end) => (end - start) / (2 + random(30)) },
    kvBytesPerToken: model.engine.info.kvBytesPerToken,
    maxBatchTokens,
    policy: 'compete',
    now: parts.now,
  });
  const run = async ({ id, tokens, read, write }: Case): Promise<Seen> => {
    const request = generateRequestSchema.parse({
      requestId: randomUUID(),
      organizationId: bench.organizationId,
      model: config.modelId,
      input: { kind: 'tokens', tokens },
      cache: { read, write },
      sampling: { temperature: 0, seed: id },
      ignoreEos: true,
      maxTokens: ANSWER_TOKENS,
    });
    const answer: Seen = { logits: [], tokens: [], restored: 0, cached: 0 };
    await worker.generate(request, new AbortController().signal, (event) => {
      if (event.type === 'token') answer.tokens.push(event.id);
      if (event.type !== 'done') return;
      answer.cached = event.usage.cachedTokens;
      answer.restored = event.cache.bytes;
    });
    answer.logits = seen.get(id)!;
    parts.scheduler.checkIntegrity();
    return answer;
  };
  return { run, worker };
}

for (const codec of ['raw', 'lossless'] as const) {
  test(`${codec}: ${CASES / 2} random prompts have the logits that they have without a cache, seed ${SEED}`, async (context) => {
    const random = seededRandom(SEED + codec.length);
    const workers = [
      await startWorker(`${codec}-1`, 512, codec, random),
      await startWorker(`${codec}-2`, 160, codec, random),
    ];
    const texts = Array.from({ length: 5 }, () => Array.from({ length: MOST_TOKENS }, () => random(VOCABULARY)));
    const totals = { cached: 0, restoredPrompts: 0, racedPrompts: 0, evictions: 0 };
    let made = 0;
    const fresh = (): Case => {
      const text = texts[random(texts.length)]!;
      const shared = text.slice(0, 1 + random(MOST_TOKENS - 1));
      const own = Array.from({ length: random(3) === 0 ? 0 : random(150) }, () => random(VOCABULARY));
      const tokens = [...shared, ...own].slice(0, MOST_TOKENS);
      return { id: 1 + made++, tokens, read: random(8) > 0, write: random(8) > 0 };
    };
    while (made < CASES / 2) {
      const batch = Array.from({ length: Math.min(1 + random(4), CASES / 2 - made) }, fresh);
      const answers = await Promise.all(batch.map((one) => workers[random(2)]!.run(one)));
      for (const [index, { id, tokens }] of batch.entries()) {
        const got = answers[index]!;
        const wanted = await expected(tokens, got.tokens);
        assert.equal(got.logits.length, ANSWER_TOKENS);
        // Bits, not numbers: deepEqual would call two NaN equal.
        for (const [at, row] of wanted.entries())
          assert.ok(
            Buffer.from(row.buffer).equals(
              Buffer.from(got.logits[at]!.buffer, got.logits[at]!.byteOffset, row.byteLength),
            ),
            `case ${id} (${tokens.length} tokens, ${got.cached} cached) differs at token ${at}`,
          );
        totals.cached += got.cached;
        if (got.restored > 0) totals.restoredPrompts++;
        if (got.restored > 0 && got.cached < Math.floor((tokens.length - 1) / 128) * 128) totals.racedPrompts++;
      }
      for (const { worker } of workers) await worker.parts.kv.flush(10_000);
    }
    for (const { worker } of workers) totals.evictions += worker.parts.scheduler.blocks.evictionCount;
    context.diagnostic(JSON.stringify(totals));
    assert.ok(totals.restoredPrompts >= 5, 'restores took part');
    assert.ok(totals.racedPrompts >= 1, 'so did prompts that were partly restored, partly computed');
    assert.ok(totals.evictions >= 50, 'so did evictions');
  });
}
