import {
  type Bootstrapped,
  bootstrapOrganization,
  createDatabase,
  type Database,
  type DatabaseClient,
} from '@longshore/db';
import { createTestDatabase, type TestDatabase } from '@longshore/db/testing';
import { createApp } from '../app.ts';
import type { Bindings } from '../bindings.ts';
import { Pool } from '../router/domain/pool.ts';
import type { PoolRouterPort } from '../router/ports.ts';
import { FakeWorker, POOL_TOKEN } from './fake-worker.ts';

/** PoolRouter without workerd: the same pool behind the same methods. */
function routerOf(pool: Pool): PoolRouterPort {
  return {
    heartbeat: async (beat) => pool.heartbeat(beat, Date.now()),
    pick: async (query) => pool.pick(query, Date.now()),
    reportFailure: async (worker) => pool.reportFailure(worker),
    release: async (worker) => pool.release(worker),
    models: async () => pool.models(Date.now()),
    liveWorkers: async () => pool.liveWorkers(Date.now()),
  };
}

/** The edge's app in this process, over a real Postgres and workers that speak real HTTP. Not workerd: test/e2e has that. */
export class EdgeHarness {
  readonly bindings: Bindings;
  readonly pool = new Pool();
  readonly workers: FakeWorker[] = [];
  organization!: Bootstrapped;
  db!: Database;
  private readonly app = createApp();
  private readonly background: Promise<unknown>[] = [];
  private readonly database: TestDatabase;
  private client!: DatabaseClient;

  private constructor(database: TestDatabase) {
    this.database = database;
    const router = routerOf(this.pool);
    this.bindings = {
      HYPERDRIVE: { connectionString: database.url },
      POOL_ROUTER: { getByName: () => router },
      LONGSHORE_POOL_TOKEN: POOL_TOKEN,
    };
  }

  static async start(): Promise<EdgeHarness> {
    const harness = new EdgeHarness(await createTestDatabase());
    harness.client = createDatabase(harness.database.url, { max: 2 });
    harness.db = harness.client.db;
    harness.organization = await harness.newOrganization('harbour');
    return harness;
  }

  newOrganization(name: string): Promise<Bootstrapped> {
    const masterKey = crypto.getRandomValues(new Uint8Array(32));
    return bootstrapOrganization(this.db, { organization: name, ownerEmail: `${name}@harbour.test`, masterKey });
  }

  /** Starts a worker and lets the router know it. */
  async addWorker(id: string): Promise<FakeWorker> {
    const worker = new FakeWorker(id);
    await worker.start();
    this.workers.push(worker);
    this.pool.heartbeat(worker.beat(), Date.now());
    return worker;
  }

  /** Another app with the same bindings: an edge that has cached nothing. */
  fresh(changes: Partial<Bindings> = {}): (path: string, init?: RequestInit) => Promise<Response> {
    const app = createApp();
    return (path, init) => this.dispatch(app, path, init, { ...this.bindings, ...changes });
  }

  fetch(path: string, init?: RequestInit): Promise<Response> {
    return this.dispatch(this.app, path, init, this.bindings);
  }

  post(path: string, body: unknown, init: RequestInit = {}): Promise<Response> {
    return this.fetch(path, { method: 'POST', body: JSON.stringify(body), ...init });
  }

  /** Waits for everything handed to waitUntil. */
  async settle(): Promise<void> {
    for (let next = this.background.shift(); next !== undefined; next = this.background.shift()) await next;
  }

  async stop(): Promise<void> {
    await this.settle();
    await Promise.all(this.workers.map((worker) => worker.stop()));
    await this.client.close();
    await this.database.close();
  }

  private async dispatch(
    app: ReturnType<typeof createApp>,
    path: string,
    init: RequestInit | undefined,
    bindings: Bindings,
  ): Promise<Response> {
    const headers = new Headers(init?.headers);
    if (!headers.has('authorization')) headers.set('authorization', `Bearer ${this.organization.apiKey}`);
    const context = {
      waitUntil: (work: Promise<unknown>) => void this.background.push(work),
      passThroughOnException() {},
      props: {},
    };
    return app.request(path, { ...init, headers }, bindings, context);
  }
}
