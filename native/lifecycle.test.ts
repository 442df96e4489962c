import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { EngineError } from './index.ts';
import { openSlow, openTiny, someTokens } from './tiny-model.ts';

const closed = (error: unknown) => error instanceof EngineError && error.code === 'closed';
const one = { tokens: someTokens(1), position: 0, blockTable: Uint32Array.of(0) };
const support = new URL('./tiny-model.ts', import.meta.url).href;

/** Runs a program in a process of its own and returns what it printed; fails when it crashes or takes 20 s. */
async function inProcess(program: string, flags: string[] = []): Promise<string> {
  const source = `import { openSlow, openTiny, someTokens } from '${support}';\n${program}`;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [...flags, '--input-type=module-typescript', '--eval', source],
    { timeout: 20_000 },
  );
  return stdout.trim();
}

test('close waits for the running step, refuses the waiting ones and may be called again', async () => {
  const { engine, items } = await openSlow();
  const order: string[] = [];
  const running = engine.step(items).then(() => order.push('step'));
  await new Promise((done) => setTimeout(done, 50));
  const waiting = assert.rejects(engine.step([one]), closed);
  const closing = [engine.close(), engine.close()].map((close) => close.then(() => order.push('close')));
  await assert.rejects(engine.step([one]), closed);
  await Promise.all([running, waiting, ...closing]);
  assert.deepEqual(order, ['step', 'close', 'close']);
  await engine.close();
});

test('every call after close rejects with closed', async () => {
  const engine = await openTiny();
  const { layers } = await engine.exportBlocks(Uint32Array.of(0), 'raw', 0);
  await engine.close();
  await assert.rejects(engine.step([one]), closed);
  await assert.rejects(engine.exportBlocks(Uint32Array.of(0), 'raw', 0), closed);
  await assert.rejects(engine.importBlocks(Uint32Array.of(0), 'raw', layers, 0), closed);
  assert.throws(() => engine.stats(), closed);
  assert.equal(engine.info.layers, 2);
});

test('a transfer that runs while close is called still ends well', async () => {
  for (let round = 0; round < 20; round++) {
    const engine = await openTiny({ kvBlocks: 64 });
    const blocks = Uint32Array.from({ length: 64 }, (_, index) => index);
    const exporting = engine.exportBlocks(blocks, 'int8', 128).catch((error: unknown) => assert.ok(closed(error)));
    await engine.close();
    await exporting;
  }
});

test('an idle engine that nobody closed does not keep the process alive', async () => {
  assert.equal(await inProcess(`await openTiny(); console.log('open');`), 'open');
});

test('a running step keeps the process alive until it is done', async () => {
  const program = `const { engine, items } = await openSlow(); engine.step(items).then((o) => console.log(o.length));`;
  assert.equal(await inProcess(program), '64');
});

test('the process can exit while a step runs', async () => {
  const program = `
    const { engine, items } = await openSlow();
    engine.step(items); engine.step(items);
    const start = performance.now();
    process.on('exit', () => console.log('exit'));
    setTimeout(() => process.exit(0), 50);`;
  const start = performance.now();
  assert.equal(await inProcess(program), 'exit');
  assert.ok(performance.now() - start < 10_000);
});

test('an engine that is collected without close ends its threads', {
  skip: !existsSync('/proc/self/task'),
}, async () => {
  const program = `
    import { readdirSync } from 'node:fs';
    const threads = () => readdirSync('/proc/self/task').length;
    const before = threads();
    let engines = await Promise.all([1, 2, 3].map(() => openTiny()));
    await engines[0].step([{ tokens: someTokens(3), position: 0, blockTable: Uint32Array.of(0) }]);
    const open = threads();
    engines = undefined;
    for (let i = 0; i < 100 && threads() > before; i++) {
      globalThis.gc();
      await new Promise((done) => setTimeout(done, 20));
    }
    console.log(open > before + 5, threads() <= before);`;
  assert.equal(await inProcess(program, ['--expose-gc']), 'true true');
});

test('an engine whose step runs is not collected', async () => {
  const program = `
    let { engine, items } = await openSlow();
    const step = engine.step(items);
    engine = undefined;
    for (let i = 0; i < 10; i++) {
      globalThis.gc();
      await new Promise((done) => setTimeout(done, 10));
    }
    console.log((await step).length);`;
  assert.equal(await inProcess(program, ['--expose-gc']), '64');
});

const workerSource = (body: string) =>
  new Worker(
    `import { parentPort } from 'node:worker_threads'; import { openSlow, openTiny, someTokens } from '${support}';\n${body}`,
    // @ts-expect-error Node reads the module's kind from execArgv; the types do not know a string source with it
    { eval: true, type: 'module', execArgv: ['--input-type=module-typescript'] },
  );

function messageOf(worker: Worker): Promise<unknown> {
  return new Promise((done, fail) => {
    worker.once('message', done);
    worker.once('error', fail);
  });
}

test('worker threads open, step and close engines of their own at once', async () => {
  const workers = [1, 2, 3].map(() =>
    workerSource(`
      const engine = await openTiny();
      const [output] = await engine.step([{ tokens: someTokens(9), position: 0, blockTable: Uint32Array.of(0), sample: true }]);
      await engine.close();
      parentPort.postMessage(output.token);`),
  );
  const tokens = await Promise.all(workers.map(messageOf));
  assert.equal(new Set(tokens).size, 1);
  await Promise.all(workers.map((worker) => worker.terminate()));
});

test('a worker thread that is terminated during a step takes nothing else down', async () => {
  const engine = await openTiny();
  for (let round = 0; round < 3; round++) {
    const worker = workerSource(
      `const { engine, items } = await openSlow(); engine.step(items); engine.exportBlocks(Uint32Array.of(0), 'int8', 0); parentPort.postMessage('stepping');`,
    );
    assert.equal(await messageOf(worker), 'stepping');
    const start = performance.now();
    await worker.terminate();
    assert.ok(performance.now() - start < 1000);
    assert.equal((await engine.step([{ ...one, sample: true }])).length, 1);
  }
  await engine.close();
});
