import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type GenerateEvent, SseDecoder } from '@longshore/core';

const MAIN = fileURLToPath(new URL('../../../workers-gpu/src/main.ts', import.meta.url));
const POOL_TOKEN = 'bench-pool-token-0123456789';

export interface Answer {
  /** From sending the request to the first token, as a client on the same machine sees it. */
  ttftMs: number;
  token: number;
  done: Extract<GenerateEvent, { type: 'done' }>;
}

interface StoreStats {
  publishQueueBlocks: number;
  publishesRunning: number;
  /** Since its start, of all restores: verifying checksums and opening seals, and decoding into the pool. */
  sealMs: number;
  importMs: number;
}

/** A worker's real process, alone: no edge, no heartbeats. */
export class WorkerProcess {
  private readonly child: ChildProcess;
  private readonly url: string;
  private readonly organizationId: string;
  private readonly modelId: string;

  private constructor(child: ChildProcess, url: string, organizationId: string, modelId: string) {
    this.child = child;
    this.url = url;
    this.organizationId = organizationId;
    this.modelId = modelId;
  }

  /** Resolves when it listens; rejects with its last words when it ends before. */
  static async start(environment: Record<string, string>, organizationId: string): Promise<WorkerProcess> {
    const child = spawn(process.execPath, [MAIN], {
      env: {
        ...process.env,
        LONGSHORE_WORKER_ID: `bench-${randomUUID().slice(0, 8)}`,
        LONGSHORE_WORKER_PORT: '0',
        LONGSHORE_POOL_TOKEN: POOL_TOKEN,
        ...environment,
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const url = await new Promise<string>((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`the worker ended with ${code} before it listened`)));
      createInterface({ input: child.stdout! }).on('line', (line) => {
        const entry = JSON.parse(line) as Record<string, unknown>;
        if (typeof entry.url === 'string') resolve(entry.url);
        else if (entry.level === 'error' || entry.level === 'warn') process.stderr.write(`${line}\n`);
      });
    });
    return new WorkerProcess(child, url, organizationId, environment.LONGSHORE_MODEL_ID!);
  }

  async ask(tokens: readonly number[], cache: { read: boolean; write: boolean }): Promise<Answer> {
    const body = JSON.stringify({
      requestId: randomUUID(),
      organizationId: this.organizationId,
      model: this.modelId,
      input: { kind: 'tokens', tokens },
      cache,
      sampling: { temperature: 0 },
      ignoreEos: true,
      maxTokens: 1,
    });
    const startedAt = performance.now();
    const response = await fetch(`${this.url}/generate`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${POOL_TOKEN}` },
      body,
    });
    if (!response.ok) throw new Error(`the worker answers ${response.status}: ${await response.text()}`);
    const decoder = new SseDecoder();
    let ttftMs: number | undefined;
    let token = -1;
    for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
      for (const { data } of decoder.push(text)) {
        const event = JSON.parse(data) as GenerateEvent;
        if (event.type === 'error') throw new Error(event.error.message);
        if (event.type === 'token') {
          ttftMs ??= performance.now() - startedAt;
          token = event.id;
        }
        if (event.type === 'done' && ttftMs !== undefined) return { ttftMs, token, done: event };
      }
    }
    throw new Error('the worker ended a stream without a token');
  }

  /** Until everything it publishes is stored. */
  async untilStored(withinMs = 120_000): Promise<void> {
    const end = performance.now() + withinMs;
    for (;;) {
      const kv = await this.storeStats();
      if (kv.publishQueueBlocks + kv.publishesRunning === 0) return;
      if (performance.now() > end) throw new Error(`publishing has not ended after ${withinMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async storeStats(): Promise<StoreStats> {
    const response = await fetch(`${this.url}/stats`, { headers: { authorization: `Bearer ${POOL_TOKEN}` } });
    return ((await response.json()) as { kv: StoreStats }).kv;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await ended;
  }
}
