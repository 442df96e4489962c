import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bootstrapOrganization, createDatabase, type DatabaseClient, schema } from '@longshore/db';
import { createTestDatabase } from '@longshore/db/testing';
import { parseConfig, type WorkerConfig } from '../config.ts';
import { PrefixChain } from '../domain/prefix-chain.ts';
import { workerApp } from '../http/app.ts';
import {
  createMemoryObjectStore,
  createPostgresDirectory,
  createPostgresKeyRing,
  type KvStore,
  type ObjectStore,
  type Outcome,
  openDiskTier,
  type Tier,
} from '../kv/index.ts';
import { type FaultPlan, faulty } from '../kv/testing/faulty.ts';
import { type OpenedModel, openModel } from '../open-model.ts';
import { jsonLogger } from '../telemetry/log.ts';
import { Worker } from '../worker.ts';
import { repositoryFile } from './test-model.ts';
import { type Answer, readAnswer } from './worker-bench.ts';

/**
 * Prefill, publish, evict, restore from the disk tier, restore from the object store on another worker, delete, sweep: through the worker's
 * HTTP surface, two real engines, a real Postgres and a real disk tier, with every call to the object store, the tier's reads and
 * fills, the directory and the key ring going through one fault plan. The object store is memory, so that a case takes milliseconds.
 */

const POOL_TOKEN = 'test-pool-token-0123456789';
const MODEL_ID = 'test-model';
const MASTER_KEY = 'cd'.repeat(32);
/** One prompt and its answer, and two blocks of another: the second prompt evicts most of the first. */
const POOL_BLOCKS = 8;
const LANES = 4;
const NO_WAIT = { abandoned: 0, grace: 0, orphan: 0 };
const TIER_METHODS = ['readInto', 'fill'];

const prompt = (seed: number) =>
  Array.from({ length: 5 * 128 + 20 }, (_, index) => 20 + ((index * (seed * 2 + 1) + seed) % 900));
const PROMPTS = [prompt(1), prompt(2)] as const;

interface ScenarioRun {
  /** Of the prompts 0, 1, 0 on the first worker and 0 on the second. */
  answers: Answer[];
  /** How many blocks came back from the disk tier and from the object store. */
  restoredBlocks: number[];
  /** What is wrong now that everything has been swept; empty when nothing is. */
  leaks: string[];
}

export interface FaultScenario {
  /** Token ids of the right answers, in the order of `answers`. */
  expected: number[][];
  /** Cases that may run at a time, each on engines of its own. */
  lanes: number;
  run(plan: FaultPlan): Promise<ScenarioRun>;
  close(): Promise<void>;
}

export async function openFaultScenario(): Promise<FaultScenario> {
  const folder = await mkdtemp(join(tmpdir(), 'longshore-faults-'));
  const lanes = await Promise.all(Array.from({ length: LANES }, () => openLane(folder)));
  const free = [...lanes];
  return {
    expected: await uncached(lanes[0]!),
    lanes: LANES,
    async run(plan) {
      const lane = free.pop();
      if (lane === undefined) throw new RangeError(`at most ${LANES} cases run at a time`);
      return runScenario(lane, plan).finally(() => free.push(lane));
    },
    async close() {
      for (const lane of lanes) await lane.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** What one case at a time runs on. A sweep looks at the whole database, so each has its own. */
interface Lane {
  client: DatabaseClient;
  config: WorkerConfig;
  models: OpenedModel[];
  folder: string;
  close(): Promise<void>;
}

async function openLane(folder: string): Promise<Lane> {
  const database = await createTestDatabase();
  const client = createDatabase(database.url);
  const config = scenarioConfig(database.url);
  const models = [await openModel(config), await openModel(config)];
  return {
    client,
    config,
    models,
    folder,
    async close() {
      for (const { engine } of models) await engine.close();
      await client.close();
      await database.close();
    },
  };
}

function scenarioConfig(databaseUrl: string): WorkerConfig {
  return parseConfig({
    LONGSHORE_WORKER_ID: 'a',
    LONGSHORE_WORKER_PORT: '0',
    LONGSHORE_POOL_TOKEN: POOL_TOKEN,
    LONGSHORE_MODEL: repositoryFile('infra', 'fixture-model'),
    LONGSHORE_MODEL_ID: MODEL_ID,
    LONGSHORE_MASTER_KEY: MASTER_KEY,
    LONGSHORE_KV_BYTES: String(1024 ** 2),
    // Computing so small a model is always faster; here the stored KV is to be read.
    LONGSHORE_RESTORE: 'always',
    LONGSHORE_THREADS: '1',
    DATABASE_URL: databaseUrl,
    S3_BUCKET: 'unused',
    S3_ACCESS_KEY_ID: 'unused',
    S3_SECRET_ACCESS_KEY: 'unused',
  });
}

interface Ports {
  objects: ObjectStore;
  tiers: Tier[];
  plan?: FaultPlan;
}

function openWorker({ client, config, models }: Lane, index: number, { objects, tiers, plan }: Ports): Worker {
  const through = <T extends object>(port: T): T => (plan ? faulty(port, plan) : port);
  return new Worker({
    config: { ...config, workerId: `w${index}` },
    model: { ...models[index]!, kvBlocks: POOL_BLOCKS },
    objects: through(objects),
    tiers: tiers.map((tier) => (plan ? faultyTier(tier, plan) : tier)),
    database: client.db,
    log: jsonLogger({}, () => {}),
    onFault: () => {},
    store: {
      directory: through(createPostgresDirectory(client.db)),
      keyRing: through(createPostgresKeyRing(client.db, Buffer.from(MASTER_KEY, 'hex'))),
      sweepIntervalMs: 0,
      sweepAges: NO_WAIT,
      warmUp: false,
    },
  });
}

/** Only what may fail by the tier's contract. */
function faultyTier(tier: Tier, plan: FaultPlan): Tier {
  const failing = faulty(tier, plan);
  return new Proxy(tier, {
    get(target, name) {
      const source = TIER_METHODS.includes(String(name)) ? failing : target;
      const member = Reflect.get(source, name) as unknown;
      return typeof member === 'function' ? member.bind(source) : member;
    },
  });
}

async function ask(
  worker: Worker,
  organizationId: string,
  tokens: readonly number[],
  cache = { read: true, write: true },
) {
  const response = await workerApp(worker, POOL_TOKEN).request('/generate', {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${POOL_TOKEN}` },
    body: JSON.stringify({
      requestId: randomUUID(),
      organizationId,
      model: MODEL_ID,
      input: { kind: 'tokens', tokens },
      maxTokens: 6,
      ignoreEos: true,
      sampling: { temperature: 0 },
      cache,
    }),
  });
  return readAnswer(response);
}

async function uncached(lane: Lane): Promise<number[][]> {
  const worker = openWorker(lane, 0, { objects: createMemoryObjectStore(), tiers: [] });
  const ids: number[][] = [];
  for (const tokens of PROMPTS) ids.push((await ask(worker, 'nobody', tokens, { read: false, write: false })).ids);
  await worker.close();
  return [ids[0]!, ids[1]!, ids[0]!, ids[0]!];
}

let runs = 0;

async function runScenario(lane: Lane, plan: FaultPlan): Promise<ScenarioRun> {
  const { client, folder } = lane;
  const made = await bootstrapOrganization(client.db, {
    organization: 'Test',
    ownerEmail: `${randomUUID()}@example.com`,
    masterKey: Buffer.from(MASTER_KEY, 'hex'),
  });
  const { organizationId } = made;
  const objects = createMemoryObjectStore();
  const tierFolder = join(folder, String(runs++));
  const [a, b] = [
    openWorker(lane, 0, { objects, tiers: [await openTier(tierFolder)], plan }),
    openWorker(lane, 1, { objects, tiers: [], plan }),
  ];
  const leaks: string[] = [];
  const answers: Answer[] = [];
  const restoredBlocks: number[] = [];
  for (const [worker, tokens] of [
    [a, PROMPTS[0]],
    [a, PROMPTS[1]],
    [a, PROMPTS[0]],
    [b, PROMPTS[0]],
  ] as const) {
    const before = worker.parts.kv.stats().restoredBlocks;
    answers.push(await ask(worker, organizationId, tokens));
    if (!(await worker.parts.kv.flush(20_000))) leaks.push('a publish does not end');
    restoredBlocks.push(worker.parts.kv.stats().restoredBlocks - before);
  }
  await removePrompt(a.parts.kv, organizationId);
  await a.parts.kv.sweep();
  for (const worker of [a, b]) {
    leaks.push(...deviceLeaks(worker));
    await worker.close();
  }
  plan.failAt = undefined;
  leaks.push(...(await leaksAfterSweep(lane, organizationId, objects, tierFolder)));
  return { answers, restoredBlocks, leaks };
}

function openTier(folder: string) {
  return openDiskTier({
    folder,
    budgetBytes: 64 * 1024 ** 2,
    ttlMs: 3_600_000,
    now: () => performance.now(),
    wallClock: () => Date.now(),
  });
}

async function removePrompt(kv: KvStore, organizationId: string): Promise<Outcome<unknown>> {
  const tenant = await kv.tenant(organizationId);
  if (!tenant.ok) return tenant;
  const chain = new PrefixChain(tenant.value.root);
  chain.extend(PROMPTS[0]);
  return kv.remove(tenant.value, chain.digestRange(0, 5));
}

function deviceLeaks({ parts: { scheduler } }: Worker): string[] {
  try {
    scheduler.checkIntegrity();
  } catch (error) {
    return [String(error)];
  }
  const { available, capacity } = scheduler.blocks;
  return available === capacity ? [] : [`${capacity - available} device blocks are not free`];
}

/** A healthy worker's process over the same folder finishes the delete and sweeps; whatever is left must be whole and agree. */
async function leaksAfterSweep(
  lane: Lane,
  organizationId: string,
  objects: ReturnType<typeof createMemoryObjectStore>,
  tierFolder: string,
): Promise<string[]> {
  const tier = await openTier(tierFolder);
  const healthy = openWorker(lane, 0, { objects, tiers: [tier] });
  const leaks: string[] = [];
  for (const outcome of [
    await removePrompt(healthy.parts.kv, organizationId),
    await healthy.parts.kv.sweep(),
    await healthy.parts.kv.sweep(),
  ])
    if (!outcome.ok) leaks.push(outcome.fault.message);
  const own = <Row extends { organizationId: string }>(all: Row[]) =>
    all.filter((row) => row.organizationId === organizationId);
  const { db } = lane.client;
  const rows = own(await db.select().from(schema.kvObjects));
  const keys = new Set(rows.map((row) => row.key));
  for (const row of rows) {
    const stored = objects.objects.get(row.key)?.bytes.length;
    if (row.state !== 'ready') leaks.push(`${row.key} is left ${row.state}`);
    if (stored !== row.storedBytes) leaks.push(`${row.key} has ${stored} of ${row.storedBytes} bytes`);
  }
  for (const key of objects.objects.keys()) if (!keys.has(key)) leaks.push(`no row names the object ${key}`);
  for (const key of tier.keys(undefined, 1000)) if (!keys.has(key)) leaks.push(`no row names the near copy ${key}`);
  const [account] = own(await db.select().from(schema.kvAccounts));
  const held = rows.reduce((sum, row) => sum + row.storedBytes, 0);
  if ((account?.heldBytes ?? 0) !== held) leaks.push(`the account holds ${account?.heldBytes} bytes, its rows ${held}`);
  // At most the second prompt's chain is left: the first one was deleted.
  const blocks = own(await db.select().from(schema.kvBlocks)).length;
  if (blocks > 5) leaks.push(`${blocks} blocks are left of 5`);
  tier.checkIntegrity();
  await healthy.close();
  return leaks;
}
