import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { BLOCK_TOKENS, type Engine, EngineError, type EngineErrorCode, open, type StepItem } from './index.ts';
import { openSlow, openTiny, someTokens, tinyModel } from './tiny-model.ts';

const engine = await openTiny();
after(() => engine.close());

const hasCode = (code: EngineErrorCode) => (error: unknown) => {
  assert.ok(error instanceof EngineError, String(error));
  assert.equal(error.code, code, error.message);
  assert.ok(error.message.length > 10);
  return true;
};

function item(tokens: Uint32Array, position: number, blocks: number[], rest: Partial<StepItem> = {}): StepItem {
  return { tokens, position, blockTable: Uint32Array.from(blocks), ...rest };
}

async function logitsAfter(on: Engine, token: number, position: number, blocks: number[]): Promise<Float32Array> {
  const [output] = await on.step([item(Uint32Array.of(token), position, blocks, { wantLogits: true })]);
  return output!.logits!;
}

/** The least of three attempts: other processes of the machine may disturb one. */
async function bestOfThree(measure: () => Promise<number>): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 3 && best > 15; attempt++) best = Math.min(best, await measure());
  return best;
}

test('describes the model that it opened', () => {
  assert.equal(engine.info.family, 'llama');
  assert.equal(engine.info.layers, 2);
  assert.equal(engine.info.vocab, 160);
  assert.equal(engine.info.contextLength, 512);
  assert.equal(engine.info.kvDtype, 'bf16');
  assert.equal(engine.info.kvBytesPerToken, 2 * 2 * 2 * 16 * 2);
  assert.deepEqual(engine.info.eosIds, [2]);
  assert.match(engine.info.weightsDigest, /^sha256:[0-9a-f]{64}$/);
  assert.doesNotThrow(() => JSON.parse(engine.info.configJson));
  assert.ok(Object.isFrozen(engine.info));
});

test('answers with token, log-probabilities and logits as asked, and with nulls where not asked', async () => {
  const [asked, plain] = await engine.step([
    item(someTokens(5), 0, [0], {
      sample: true,
      wantLogits: true,
      sampling: { logprobs: true, topLogprobs: 4, temperature: 0.7, seed: 9007199254740991, logitBias: [[3, 1]] },
    }),
    item(someTokens(5), 0, [1]),
  ]);
  assert.equal(asked!.logits!.length, 5 * engine.info.vocab);
  assert.equal(asked!.top.length, 4);
  assert.ok(asked!.top[0]!.logprob >= asked!.top[1]!.logprob);
  assert.ok(Number.isInteger(asked!.token) && asked!.logprob! <= 0);
  assert.deepEqual(plain, { token: null, logprob: null, top: [] });
});

test('greedy takes the token with the highest logit', async () => {
  const [output] = await engine.step([item(someTokens(20), 0, [0], { sample: true, wantLogits: true })]);
  const last = output!.logits!.subarray(19 * engine.info.vocab);
  assert.equal(output!.token, last.indexOf(Math.max(...last)));
});

test('logits are bit-equal alone, in a batch and in any split', async () => {
  const tokens = someTokens(140);
  const [alone] = await engine.step([item(tokens, 0, [0, 1], { wantLogits: true })]);
  const [inBatch] = await engine.step([
    item(tokens, 0, [2, 3], { wantLogits: true }),
    item(someTokens(60, 5), 0, [4]),
    item(someTokens(3, 6), 0, [5]),
  ]);
  assert.deepEqual(inBatch!.logits, alone!.logits);
  await engine.step([item(tokens.slice(0, 37), 0, [6, 7])]);
  const [rest] = await engine.step([item(tokens.slice(37), 37, [6, 7], { wantLogits: true })]);
  assert.deepEqual(rest!.logits, alone!.logits!.slice(37 * engine.info.vocab));
});

test('a prefix exported raw and imported into other blocks continues with the same logits', async () => {
  await engine.step([item(someTokens(150), 0, [0, 1])]);
  const exported = await engine.exportBlocks(Uint32Array.of(0, 1), 'raw', 0, 22);
  assert.equal(exported.rawBytes, 150 * engine.info.kvBytesPerToken);
  assert.equal(exported.layers.length, engine.info.layers);
  await engine.importBlocks(Uint32Array.of(5, 3), 'raw', exported.layers, 0, 22);
  assert.deepEqual(await logitsAfter(engine, 7, 150, [5, 3]), await logitsAfter(engine, 7, 150, [0, 1]));
});

test('int8 stores the chain’s first block raw and later blocks in about half', async () => {
  await engine.step([item(someTokens(256), 0, [0, 1])]);
  const raw = 128 * (engine.info.kvBytesPerToken / engine.info.layers);
  const first = await engine.exportBlocks(Uint32Array.of(0), 'int8', 0);
  assert.equal(first.layers[0]!.length, raw);
  const second = await engine.exportBlocks(Uint32Array.of(1), 'int8', BLOCK_TOKENS);
  assert.ok(second.layers[0]!.length < raw * 0.8);
});

test('import copies its sections before it returns', async () => {
  await engine.step([item(someTokens(128), 0, [0])]);
  const { layers } = await engine.exportBlocks(Uint32Array.of(0), 'raw', 0);
  const importing = engine.importBlocks(Uint32Array.of(2), 'raw', layers, 0);
  for (const layer of layers) layer.fill(0xff);
  await importing;
  assert.deepEqual(await logitsAfter(engine, 7, 128, [2, 3]), await logitsAfter(engine, 7, 128, [0, 4]));
});

test('a section of the wrong size is corrupt and leaves the blocks as they were', async () => {
  await engine.step([item(someTokens(128), 0, [0])]);
  const before = await engine.exportBlocks(Uint32Array.of(0), 'raw', 0);
  const wrong = [before.layers[0]!, before.layers[1]!.subarray(1)];
  await assert.rejects(engine.importBlocks(Uint32Array.of(0), 'raw', wrong, 0), hasCode('corrupt'));
  await assert.rejects(engine.importBlocks(Uint32Array.of(0), 'raw', [], 0), hasCode('corrupt'));
  assert.deepEqual((await engine.exportBlocks(Uint32Array.of(0), 'raw', 0)).layers, before.layers);
});

test('every unusable argument rejects with invalid_argument and a word about it', async () => {
  const good = item(someTokens(3), 0, [0], { sample: true });
  // biome-ignore lint/suspicious/noExplicitAny: arguments that the types forbid
  const bad: any[] = [
    undefined,
    null,
    'x',
    [null],
    [{}],
    [{ ...good, tokens: [1, 2] }],
    [{ ...good, tokens: new Uint32Array(0) }],
    [{ ...good, tokens: Uint32Array.of(160) }],
    [{ ...good, position: -1 }],
    [{ ...good, position: 1.5 }],
    [{ ...good, position: 510 }],
    [{ ...good, blockTable: Uint32Array.of(8) }],
    [{ ...good, blockTable: new Uint32Array(0) }],
    [{ ...good, sampling: 5 }],
    [{ ...good, sampling: { temperature: -1 } }],
    [{ ...good, sampling: { temperature: Number.NaN } }],
    [{ ...good, sampling: { topK: -1 } }],
    [{ ...good, sampling: { topLogprobs: 21 } }],
    [{ ...good, sampling: { seed: 2 ** 53 } }],
    [{ ...good, sampling: { logitBias: [[160, 1]] } }],
    [{ ...good, sampling: { logitBias: [5] } }],
    [{ ...good, sampling: { banned: ['x'] } }],
    [{ ...good, sampling: { frequencyPenalty: 1 }, history: Uint32Array.of(4000) }],
    [{ ...good, sample: 1 }],
  ];
  for (const items of bad) await assert.rejects(engine.step(items), hasCode('invalid_argument'), JSON.stringify(items));
  // biome-ignore lint/suspicious/noExplicitAny: arguments that the types forbid
  await assert.rejects(engine.step([good], 5 as any), hasCode('invalid_argument'));
  await assert.rejects(engine.step([good], new Int32Array(0)), hasCode('invalid_argument'));
  const block = Uint32Array.of(0);
  // biome-ignore lint/suspicious/noExplicitAny: arguments that the types forbid
  await assert.rejects(engine.exportBlocks(block, 'zip' as any, 0), hasCode('invalid_argument'));
  await assert.rejects(engine.exportBlocks(block, 'raw', 5), hasCode('invalid_argument'));
  await assert.rejects(engine.exportBlocks(Uint32Array.of(8), 'raw', 0), hasCode('invalid_argument'));
  await assert.rejects(engine.exportBlocks(new Uint32Array(0), 'raw', 0), hasCode('invalid_argument'));
  await assert.rejects(engine.exportBlocks(block, 'raw', 0, 129), hasCode('invalid_argument'));
  // biome-ignore lint/suspicious/noExplicitAny: arguments that the types forbid
  await assert.rejects(engine.importBlocks(block, 'raw', [5 as any], 0), hasCode('invalid_argument'));
  const [output] = await engine.step([good]);
  assert.ok(output!.token !== null, 'the engine works on afterwards');
});

test('a getter that throws rejects with its error', async () => {
  const thrown = new Error('from a getter');
  const trap = Object.defineProperty({}, 'tokens', {
    get() {
      throw thrown;
    },
  });
  // biome-ignore lint/suspicious/noExplicitAny: arguments that the types forbid
  await assert.rejects(engine.step([trap as any]), (error) => error === thrown);
});

test('a model that cannot be opened rejects with the reason', async () => {
  await assert.rejects(open({ model: '/nowhere/model.gguf', kvBlocks: 1 }), hasCode('not_found'));
  await assert.rejects(open({ model: import.meta.filename, kvBlocks: 1 }), (error: EngineError) =>
    ['corrupt', 'unsupported', 'not_found'].includes(error.code),
  );
  await assert.rejects(open({ model: tinyModel, kvBlocks: 0 }), hasCode('invalid_argument'));
  await assert.rejects(open({ model: tinyModel, kvBlocks: -1 }), hasCode('invalid_argument'));
  await assert.rejects(open({ model: tinyModel, kvBlocks: 1, backend: 'cuda' }), hasCode('unsupported'));
  // biome-ignore lint/suspicious/noExplicitAny: arguments that the types forbid
  await assert.rejects(open({ kvBlocks: 1 } as any), hasCode('invalid_argument'));
  // biome-ignore lint/suspicious/noExplicitAny: arguments that the types forbid
  await assert.rejects(open(undefined as any), hasCode('invalid_argument'));
});

test('steps run in the order of their calls and statistics count them', async () => {
  const before = engine.stats();
  const order: number[] = [];
  const calls = [3, 1, 2].map((tokens, index) =>
    engine.step([item(someTokens(tokens), 0, [0])]).then(() => order.push(index)),
  );
  await Promise.all(calls);
  assert.deepEqual(order, [0, 1, 2]);
  const stats = engine.stats();
  assert.equal(stats.steps - before.steps, 3);
  assert.equal(stats.tokens - before.tokens, 6);
  assert.ok(stats.kvPoolBytes >= 8 * BLOCK_TOKENS * engine.info.kvBytesPerToken);
});

test('decodes sparsely as it is told, counts what it read, and answers as dense decode where it keeps everything', async () => {
  const tokens = someTokens(500);
  const table = [0, 1, 2, 3];
  const answers = [];
  const everything = { type: 'sketch_topk', min_tokens: 256, window: 128, rescore: 1, keep: 0.9999, measure_every: 1 };
  for (const decodePolicy of [
    undefined,
    'dense',
    JSON.stringify(everything),
    '{"type":"block_topk","min_tokens":256,"window":128}',
  ]) {
    const one = await openTiny({ kvBlocks: 4, ...(decodePolicy === undefined ? {} : { decodePolicy }) });
    try {
      await one.step([item(tokens, 0, table)]);
      answers.push({ logits: await logitsAfter(one, 7, 500, table), stats: one.stats() });
    } finally {
      await one.close();
    }
  }
  const [plain, dense, sketches, blocks] = answers;
  assert.deepEqual(dense!.logits, plain!.logits);
  assert.equal(dense!.stats.decodeKeys, 0);
  const { heads, layers } = engine.info;
  for (const { stats } of [sketches!, blocks!]) {
    assert.equal(stats.decodeKeys, heads * layers * 501);
    assert.ok(stats.decodeBytes > 0);
  }
  // One block lies between sink and window.
  assert.equal(sketches!.stats.decodeScannedKeys, heads * layers * BLOCK_TOKENS);
  assert.equal(sketches!.stats.decodeMeasured, heads * layers);
  assert.ok(sketches!.stats.decodeMassKept > 0.99 * heads * layers);
  const off = sketches!.logits.map((value, index) => Math.abs(value - plain!.logits[index]!));
  assert.ok(Math.max(...off) < 0.05 * Math.max(...plain!.logits.map(Math.abs)), `${Math.max(...off)}`);
});

test('refuses decode policies that it does not know, and sketches of an f32 pool', async () => {
  for (const decodePolicy of [
    'sparse',
    '{"type":"sketch_topk","blocks":0.5}',
    '{"type":"sketch_topk","rescore":2}',
    '{',
  ])
    await assert.rejects(openTiny({ decodePolicy }), hasCode('invalid_argument'));
  await assert.rejects(openTiny({ decodePolicy: 'sketch_topk', kvDtype: 'f32' }), hasCode('unsupported'));
});

test('timers are at most 20 ms late while a long step runs', async () => {
  const slow = await openSlow();
  let stepMs = 0;
  const latest = await bestOfThree(async () => {
    let late = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      late = Math.max(late, now - last - 5);
      last = now;
    }, 5);
    const start = performance.now();
    await slow.engine.step(slow.items);
    stepMs = performance.now() - start;
    clearInterval(timer);
    return late;
  });
  await slow.engine.close();
  assert.ok(stepMs > 200, `a step of ${stepMs} ms is too short to tell`);
  assert.ok(latest < 20, `a timer was ${latest} ms late`);
});

test('cancel ends a running step within 50 ms, and the same items then give the uncancelled answer', async () => {
  const { engine: slow, items } = await openSlow();
  const whole = await slow.step(items);
  const cancel = new Int32Array(new SharedArrayBuffer(4));
  const took = await bestOfThree(async () => {
    Atomics.store(cancel, 0, 0);
    const running = slow.step(items, cancel);
    await new Promise((done) => setTimeout(done, 100));
    const start = performance.now();
    Atomics.store(cancel, 0, 1);
    await assert.rejects(running, hasCode('cancelled'));
    return performance.now() - start;
  });
  assert.ok(took < 50, `cancelling took ${took} ms`);
  assert.ok(slow.stats().abortedSteps >= 1);
  assert.deepEqual(await slow.step(items), whole);
  await slow.close();
});

test('a flag that is already set cancels a step before it computes', async () => {
  const cancel = new Int32Array(new SharedArrayBuffer(4));
  cancel[0] = 1;
  await assert.rejects(engine.step([item(someTokens(100), 0, [0])], cancel), hasCode('cancelled'));
});

test('at most 64 steps wait; the next one is refused and the others finish', async () => {
  const { engine: slow, items } = await openSlow();
  const running = slow.step(items);
  await new Promise((done) => setTimeout(done, 50));
  const small = item(someTokens(1), 0, [0]);
  const waiting = Array.from({ length: 64 }, () => slow.step([small]));
  await assert.rejects(slow.step([small]), hasCode('out_of_memory'));
  await Promise.all([running, ...waiting]);
  await slow.close();
});

test('transfers run beside a step', async () => {
  const { engine: slow, items } = await openSlow();
  let stepping = true;
  const step = slow.step(items.slice(1)).then(() => {
    stepping = false;
  });
  await new Promise((done) => setTimeout(done, 20));
  await slow.exportBlocks(Uint32Array.of(0), 'int8', 0);
  assert.equal(stepping, true);
  await step;
  await slow.close();
});
