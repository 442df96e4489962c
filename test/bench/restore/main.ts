/**
 * Time to the first token with a stored prefix against without: npm run bench:restore -- --json
 *   [--tokens 1024,2048,4096,8064] [--tiers s3,disk] [--throttles 1,10,100,latency] [--throttled-tokens 1024,2048,4096]
 *   [--rounds 3] [--seconds-per-case 6]
 * Real worker processes, the local S3 server behind a proxy that slows it down, Postgres, SmolLM2. Prompts are random tokens: a stored
 * document of n tokens and 16 more. Every line's cold, restored and purely restored times are medians of the same run. `--json` leaves
 * out the progress lines. Other codecs: LONGSHORE_CODEC.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { bootstrapOrganization, createDatabase } from '@longshore/db';
import { createTestDatabase } from '@longshore/db/testing';
import { findInstalled, Home, readConfig } from '@longshore/infra';
import { startLocalS3 } from '@longshore/infra/testing';
import { readModelMetadata } from '@longshore/native';
import { startSlowProxy } from '../../harness/slow-proxy.ts';
import { document, measure, type RestoreCase } from './restore-case.ts';
import { WorkerProcess } from './worker-process.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    tokens: { type: 'string', default: '1024,2048,4096,8064' },
    tiers: { type: 'string', default: 's3,disk' },
    throttles: { type: 'string', default: '1,10,100,latency' },
    'throttled-tokens': { type: 'string', default: '1024,2048,4096' },
    rounds: { type: 'string', default: '3' },
    'seconds-per-case': { type: 'string', default: '6' },
  },
});

const MODEL_ID = 'smollm2-135m-instruct';
const MASTER_KEY = 'cd'.repeat(32);
const LATENCY_MS = 50;
const DTYPE_BYTES = 2;
const numbers = (list: string): number[] => list.split(',').filter(Boolean).map(Number);
const say = (text: string): void => {
  if (!values.json) process.stderr.write(`${text}\n`);
};

async function modelPath(): Promise<string> {
  if (process.env.LONGSHORE_TEST_MODEL) return process.env.LONGSHORE_TEST_MODEL;
  const installed = await findInstalled(new Home(readConfig(process.env).home), MODEL_ID);
  if (installed) return installed.path;
  throw new Error(`no SmolLM2: run "npm run longshore -- models pull ${MODEL_ID}", or set LONGSHORE_TEST_MODEL`);
}

function cases(): RestoreCase[] {
  const plain = { throttleMbps: 0, latencyMs: 0 };
  const list: RestoreCase[] = [];
  for (const tier of values.tiers.split(',') as Array<'s3' | 'disk'>)
    for (const n of numbers(values.tokens)) list.push({ n, tier, ...plain });
  for (const throttle of values.throttles.split(',').filter(Boolean)) {
    const link =
      throttle === 'latency'
        ? { throttleMbps: 0, latencyMs: LATENCY_MS }
        : { throttleMbps: Number(throttle), latencyMs: 0 };
    for (const n of numbers(values['throttled-tokens'])) list.push({ n, tier: 's3', ...link });
  }
  return list;
}

const model = await modelPath();
const { layers, kvHeads, headDim } = await readModelMetadata(model);
const database = await createTestDatabase();
const client = createDatabase(database.url);
const s3 = await startLocalS3();
const proxy = await startSlowProxy(Number(new URL(s3.options.endpoint).port), { bytesPerSecond: 0, latencyMs: 0 });
try {
  const { organizationId } = await bootstrapOrganization(client.db, {
    organization: 'Bench',
    ownerEmail: 'bench@example.com',
    masterKey: Buffer.from(MASTER_KEY, 'hex'),
  });
  const environment = {
    LONGSHORE_MODEL: model,
    LONGSHORE_MODEL_ID: MODEL_ID,
    LONGSHORE_MASTER_KEY: MASTER_KEY,
    DATABASE_URL: database.url,
    S3_ENDPOINT: `http://127.0.0.1:${proxy.port}`,
    S3_REGION: s3.options.region,
    S3_BUCKET: s3.options.bucket,
    S3_ACCESS_KEY_ID: s3.options.accessKeyId,
    S3_SECRET_ACCESS_KEY: s3.options.secretAccessKey,
    S3_FORCE_PATH_STYLE: 'true',
  };
  const all = cases();
  const publisher = await WorkerProcess.start(environment, organizationId);
  for (const n of new Set(all.map((one) => one.n))) {
    say(`storing two documents of ${n} tokens`);
    for (const serial of [0, 1]) await publisher.ask(document(n, serial), { read: true, write: true });
    await publisher.untilStored();
  }
  await publisher.stop();
  const machine = { cpu: cpus()[0]!.model, cores: cpus().length, codec: process.env.LONGSHORE_CODEC ?? 'default' };
  for (const one of all) {
    say(`${one.n} tokens from ${one.tier}, ${one.throttleMbps || 'no'} MB/s limit, ${one.latencyMs} ms`);
    const blockBytes = 2 * layers * kvHeads * headDim * DTYPE_BYTES * 128;
    const result = await measure(one, {
      environment,
      organizationId,
      proxy,
      blockBytes,
      roundsMs: 1000 * Number(values['seconds-per-case']),
      leastRounds: Number(values.rounds),
    });
    console.log(JSON.stringify({ ...result, ...machine }));
  }
} finally {
  await proxy.close();
  await s3.stop();
  await client.close();
  await database.close();
}
