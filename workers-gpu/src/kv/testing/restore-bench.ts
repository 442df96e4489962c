/**
 * Publishes and restores one long prefix through a real S3 server and Postgres, and says where the time goes.
 * node workers-gpu/src/kv/testing/restore-bench.ts [--tokens 8192] [--codec int8] [--repeats 5] [--model file.gguf]
 * Without --model the engine is a memory copy of the same sizes (SmolLM2-135M's KV shape), so that the store's own share shows.
 * Prints one JSON object per line: MB/s are 10^6 stored bytes per second.
 */
import { randomBytes } from 'node:crypto';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { BLOCK_TOKENS, type Codec } from '@longshore/core';
import { startLocalS3 } from '@longshore/infra/testing';
import { open } from '@longshore/native';
import { createS3ObjectStore } from '../adapters/s3-object-store.ts';
import { sectionBounds } from '../domain/section-layout.ts';
import type { KvEngine, KvShape } from '../kv-store.ts';
import { chainOf, openKvBench, tenantOf } from './kv-bench.ts';

const { values } = parseArgs({
  options: {
    tokens: { type: 'string', default: '8192' },
    codec: { type: 'string', default: 'int8' },
    repeats: { type: 'string', default: '5' },
    model: { type: 'string' },
  },
});
const blocks = Math.floor(Number(values.tokens) / BLOCK_TOKENS);
const codec = values.codec as Codec;

function copyingEngine(shape: KvShape): KvEngine {
  const noise = randomBytes(64 << 20);
  const kept: Uint8Array[] = [];
  return {
    async exportBlocks(numbers, as, firstToken, lastTokens = BLOCK_TOKENS) {
      const blocks = { firstBlock: firstToken / BLOCK_TOKENS, count: numbers.length, lastTokens };
      const size = sectionBounds(shape, as, blocks).most;
      const layers = Array.from({ length: shape.layers }, (_, layer) =>
        noise.subarray(layer * 4096, layer * 4096 + size),
      );
      return { layers, rawBytes: size * shape.layers };
    },
    async importBlocks(_, __, layers) {
      layers.forEach((layer, index) => {
        if ((kept[index]?.length ?? 0) < layer.length) kept[index] = Buffer.allocUnsafeSlow(layer.length);
        kept[index]!.set(layer);
      });
    },
  };
}

/** Time inside the engine's calls, which the store's own time is what remains of. */
function timed(engine: KvEngine): KvEngine & { ms: number } {
  const wrapped = {
    ms: 0,
    async exportBlocks(...args: Parameters<KvEngine['exportBlocks']>) {
      const at = performance.now();
      const result = await engine.exportBlocks(...args);
      wrapped.ms += performance.now() - at;
      return result;
    },
    async importBlocks(...args: Parameters<KvEngine['importBlocks']>) {
      const at = performance.now();
      await engine.importBlocks(...args);
      wrapped.ms += performance.now() - at;
    },
  };
  return wrapped;
}

const real = values.model ? await open({ model: values.model, kvBlocks: 2 * blocks + 2 }) : undefined;
const shape: KvShape = real
  ? {
      layers: real.info.layers,
      kvHeads: real.info.kvHeads,
      headDim: real.info.headDim,
      kvDtype: real.info.kvDtype,
      codec,
    }
  : { layers: 30, kvHeads: 3, headDim: 64, kvDtype: 'bf16', codec };
const engine = timed(real ?? copyingEngine(shape));

const bench = await openKvBench();
const server = await startLocalS3();
const objects = createS3ObjectStore(server.options);
try {
  const { store } = bench.worker('bench', { objects, engine, shape });
  const tenant = await tenantOf(store, await bench.organization());
  const common = {
    tokens: blocks * BLOCK_TOKENS,
    codec,
    engine: real ? real.info.name : 'copy',
    cpu: cpus()[0]!.model,
  };
  for (let repeat = 0; repeat < Number(values.repeats); repeat++) {
    const { hashes } = chainOf(tenant, blocks, repeat);
    const physicalBlocks = Uint32Array.from({ length: blocks }, (_, index) => index);
    engine.ms = 0;
    let startedAt = performance.now();
    const published = await store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks }).done;
    if (!published.ok) throw new Error(published.fault.message);
    const publishMs = performance.now() - startedAt;
    const { storedBytes, rawBytes } = published.value;
    const rate = (ms: number) => Math.round(storedBytes / 1000 / ms);
    print({
      bench: 'kv_publish',
      ...common,
      ms: publishMs,
      mb_per_s: rate(publishMs),
      engine_ms: engine.ms,
      storedBytes,
      rawBytes,
    });

    engine.ms = 0;
    const cpuBefore = process.cpuUsage();
    startedAt = performance.now();
    const hit = await store.lookup({ tenant, hashes });
    if (!hit.ok) throw new Error(hit.fault.message);
    const lookupMs = performance.now() - startedAt;
    const targets = physicalBlocks.map((block) => block + (real ? blocks : 0));
    const run = await store.restoreRun({ tenant, slices: hit.value.slices, physicalBlocks: targets });
    if (run.blocks !== blocks) throw new Error(run.fault?.message ?? 'incomplete');
    const used = process.cpuUsage(cpuBefore);
    print({
      bench: 'kv_restore',
      ...common,
      ms: lookupMs + run.ms,
      mb_per_s: rate(run.ms),
      lookup_ms: lookupMs,
      engine_ms: engine.ms,
      process_cpu_ms: (used.user + used.system) / 1000,
      objects: hit.value.slices.length,
    });
  }
} finally {
  await objects.close();
  await server.stop();
  await bench.close();
  await real?.close();
}

function print(line: Record<string, unknown>): void {
  const rounded = Object.entries(line).map(([name, value]) => [
    name,
    typeof value === 'number' ? Math.round(value * 10) / 10 : value,
  ]);
  console.log(JSON.stringify(Object.fromEntries(rounded)));
}
