import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ServerType, serve } from '@hono/node-server';
import { formatId, type GenerateEvent, SseDecoder, type WireError } from '@longshore/core';
import { bootstrapOrganization, createDatabase, createSession, type DatabaseClient } from '@longshore/db';
import { createTestDatabase, type TestDatabase } from '@longshore/db/testing';
import type { Engine } from '@longshore/native';
import { parseConfig, type WorkerConfig } from '../config.ts';
import { workerApp } from '../http/app.ts';
import { createDiskObjectStore, type ObjectStore } from '../kv/index.ts';
import { type OpenedModel, openModel } from '../open-model.ts';
import { openTiers } from '../open-tiers.ts';
import { jsonLogger } from '../telemetry/log.ts';
import { Worker } from '../worker.ts';
import { testModel } from './test-model.ts';

/** Real engines over a real Postgres and a shared object store in a temporary folder; what a pool of workers is, in one process. */
export const POOL_TOKEN = 'test-pool-token-0123456789';
export const MODEL_ID = 'test-model';
export const MASTER_KEY = 'cd'.repeat(32);

export interface Answer {
  status: number;
  events: GenerateEvent[];
  error: WireError | undefined;
  text: string;
  ids: number[];
  done: Extract<GenerateEvent, { type: 'done' }> | undefined;
}

export interface RunningWorker {
  worker: Worker;
  model: OpenedModel;
  url: string;
  logs: string[];
  /** Headers and body as given; the request ids are made up. */
  post(path: string, body: unknown, signal?: AbortSignal): Promise<Response>;
  generate(request: Record<string, unknown>): Promise<Answer>;
  prefill(request: Record<string, unknown>): Promise<Answer>;
  close(): Promise<void>;
}

/** Delays, fails or passes on a step. */
export type StepFilter = (step: () => ReturnType<Engine['step']>) => ReturnType<Engine['step']>;

export interface WorkerBench {
  client: DatabaseClient;
  database: TestDatabase;
  objects: ObjectStore;
  organizationId: string;
  organization(): Promise<string>;
  session(organizationId?: string): Promise<string>;
  /** For a worker of one's own over the same stores. */
  config(name: string): WorkerConfig;
  /** `through`: every step of its engine goes through this. */
  worker(
    name: string,
    changes?: Partial<WorkerConfig>,
    objects?: ObjectStore,
    through?: StepFilter,
  ): Promise<RunningWorker>;
  close(): Promise<void>;
}

export async function openWorkerBench(): Promise<WorkerBench> {
  const database = await createTestDatabase();
  const client = createDatabase(database.url);
  const folder = await mkdtemp(join(tmpdir(), 'longshore-objects-'));
  const objects = createDiskObjectStore(folder);
  const workers: RunningWorker[] = [];
  const projects = new Map<string, string>();
  const organization = async () => {
    const made = await bootstrapOrganization(client.db, {
      organization: 'Test',
      ownerEmail: `${randomUUID()}@example.com`,
      masterKey: Buffer.from(MASTER_KEY, 'hex'),
    });
    projects.set(made.organizationId, made.projectId);
    return made.organizationId;
  };
  const organizationId = await organization();
  return {
    client,
    database,
    objects,
    organizationId,
    organization,
    async session(owner = organizationId) {
      const id = formatId('session', randomBytes(16));
      const projectId = projects.get(owner)!;
      await createSession(client.db, { id, organizationId: owner, projectId, model: MODEL_ID, ttlSeconds: 3600 });
      return id;
    },
    config: (name) => testConfig(name, database.url, 'none'),
    async worker(name, changes = {}, store = objects, through = (step) => step()) {
      const config: WorkerConfig = { ...testConfig(name, database.url, await testModel()), ...changes };
      const running = await startWorker(config, client, store, organizationId, through);
      workers.push(running);
      return running;
    },
    async close() {
      for (const worker of workers) await worker.close();
      await objects.close();
      await client.close();
      await database.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function testConfig(workerId: string, databaseUrl: string, model: string): WorkerConfig {
  return parseConfig({
    LONGSHORE_WORKER_ID: workerId,
    LONGSHORE_WORKER_PORT: '0',
    LONGSHORE_POOL_TOKEN: POOL_TOKEN,
    LONGSHORE_MODEL: model,
    LONGSHORE_MODEL_ID: MODEL_ID,
    LONGSHORE_MASTER_KEY: MASTER_KEY,
    LONGSHORE_TOUCH_KV: 'false',
    LONGSHORE_KV_BYTES: String(256 * 1024 ** 2),
    DATABASE_URL: databaseUrl,
    S3_BUCKET: 'unused',
    S3_ACCESS_KEY_ID: 'unused',
    S3_SECRET_ACCESS_KEY: 'unused',
  });
}

async function startWorker(
  config: WorkerConfig,
  client: DatabaseClient,
  objects: ObjectStore,
  organizationId: string,
  through: StepFilter,
): Promise<RunningWorker> {
  const opened = await openModel(config);
  const model = { ...opened, engine: filtered(opened.engine, through) };
  const logs: string[] = [];
  const log = jsonLogger({ workerId: config.workerId }, (line) => logs.push(line));
  // Near tiers only where a test names a folder for them.
  const tiers = config.tiers.diskFolder === undefined ? [] : await openTiers(config, log);
  const worker = new Worker({ config, model, objects, tiers, database: client.db, log, onFault: () => {} });
  const server = serve({ fetch: workerApp(worker, config.poolToken).fetch, hostname: config.host, port: 0 });
  await new Promise((resolve) => server.once('listening', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const post = (path: string, body: unknown, signal?: AbortSignal) =>
    fetch(url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${config.poolToken}` },
      body: typeof body === 'string' ? body : JSON.stringify(body),
      signal,
    });
  const send = async (path: string, request: Record<string, unknown>) =>
    readAnswer(await post(path, { requestId: randomUUID(), organizationId, model: MODEL_ID, ...request }));
  let closed = false;
  return {
    worker,
    model,
    url,
    logs,
    post,
    generate: (request) => send('/generate', request),
    prefill: (request) => send('/prefill', request),
    async close() {
      if (closed) return;
      closed = true;
      await worker.close();
      await closeServer(server);
      await model.engine.close();
    },
  };
}

/** The same engine with its steps filtered. */
function filtered(engine: Engine, through: StepFilter): Engine {
  const names = Object.getOwnPropertyNames(Object.getPrototypeOf(engine)).concat(Object.getOwnPropertyNames(engine));
  const copy: Record<string, unknown> = {};
  for (const name of names) {
    const member: unknown = Reflect.get(engine, name);
    copy[name] = typeof member === 'function' ? member.bind(engine) : member;
  }
  return { ...(copy as unknown as Engine), step: (items, cancel) => through(() => engine.step(items, cancel)) };
}

function closeServer(server: ServerType): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    if ('closeAllConnections' in server) server.closeAllConnections();
  });
}

export async function readAnswer(response: Response): Promise<Answer> {
  const body = await response.text();
  const streamed = response.headers.get('content-type')?.startsWith('text/event-stream') ?? false;
  const events = streamed ? new SseDecoder().push(body).map((event) => JSON.parse(event.data) as GenerateEvent) : [];
  const failed = events.find((event) => event.type === 'error');
  const tokens = events.filter((event) => event.type === 'token');
  return {
    status: response.status,
    events,
    error: streamed ? failed?.error : (JSON.parse(body) as { error?: WireError }).error,
    text: tokens.map((event) => event.text).join(''),
    ids: tokens.map((event) => event.id),
    done: events.find((event) => event.type === 'done'),
  };
}
