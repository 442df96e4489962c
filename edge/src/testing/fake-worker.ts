import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  encodeSse,
  type GenerateEvent,
  type GenerateRequest,
  generateRequestSchema,
  type Heartbeat,
  prefillRequestSchema,
  type toWireError,
} from '@longshore/core';

/**
 * A worker that speaks the protocol over real HTTP and thinks of nothing: it has no model, tokenizer, scheduler, KV or database,
 * so its "tokens" are words of a fixed recipe and its prompt sizes are word counts. Stop strings are ignored, sessions are
 * accepted without being looked up, and cache reports are invented (`cachedTokens` of the last report set by the test).
 * Tests use it for what the edge does with a worker; what a worker does is tested with the real one.
 */
export interface Call {
  path: string;
  body: GenerateRequest;
  /** Set when the edge closed the connection before the end. */
  aborted: boolean;
}

/** What a test lets go wrong. Return true when the response has been dealt with. */
export type Fault = (
  call: Call,
  response: ServerResponse,
  send: (event: GenerateEvent) => void,
) => boolean | Promise<boolean>;

export const POOL_TOKEN = 'a-pool-token-for-tests';

/** The word at a position of every answer: a function of seed and position alone, as continuations need. */
export const wordAt = (seed: number, index: number): string => `w${(seed * 7919 + index * 104_729) % 1000} `;

export class FakeWorker {
  readonly calls: Call[] = [];
  readonly cancelled: string[] = [];
  readonly questions: { path: string; body: Record<string, unknown> }[] = [];
  /** Answers questions about sessions. */
  reply: (path: string) => { status: number; body: unknown } = () => ({ status: 200, body: {} });
  fault: Fault | undefined;
  /** Milliseconds between tokens. */
  pace = 0;
  cachedTokens = 0;
  epoch = 'e1';
  readonly id: string;
  private server: Server | undefined;
  private url = '';

  constructor(id: string) {
    this.id = id;
  }

  async start(): Promise<void> {
    this.server = createServer((request, response) => {
      this.handle(request, response).catch(() => response.destroy());
    });
    await new Promise<void>((resolve) => this.server!.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** As SIGKILL would: the port is closed and open connections break. */
  async stop(): Promise<void> {
    this.server!.closeAllConnections();
    await new Promise((resolve) => this.server!.close(resolve));
  }

  beat(changes: Partial<Heartbeat> = {}): Heartbeat {
    return {
      workerId: this.id,
      epoch: this.epoch,
      pool: 'default',
      url: this.url,
      state: 'ready',
      model: { id: 'tiny', family: 'llama', contextLength: 2048, chat: true, createdAt: 1_700_000_000 },
      load: {
        running: 0,
        waiting: 0,
        maxRunning: 4,
        maxWaiting: 8,
        queuedTokens: 0,
        freeBlocks: 10,
        totalBlocks: 10,
        prefillTokensPerSecond: 1000,
      },
      ...changes,
    };
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (request.headers.authorization !== `Bearer ${POOL_TOKEN}`) return void response.writeHead(401).end();
    if (request.url?.startsWith('/sessions/import?')) return this.take(request.url, Buffer.concat(chunks), response);
    const json: unknown = JSON.parse(Buffer.concat(chunks).toString());
    if (request.url === '/cancel') {
      this.cancelled.push((json as { requestId: string }).requestId);
      return void response.writeHead(204).end();
    }
    if (request.url?.startsWith('/sessions/')) return this.ask(request.url, json, response);
    await this.run(request.url!, json, response);
  }

  /** Questions about sessions: recorded, and answered with what the test says. */
  private ask(path: string, json: unknown, response: ServerResponse): void {
    this.questions.push({ path, body: json as Record<string, unknown> });
    const { status, body } = this.reply(path);
    if (Buffer.isBuffer(body)) return void response.writeHead(status).end(body);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }

  /** An import: its query and its bytes, as one question. */
  private take(url: string, bytes: Buffer, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(url, this.url);
    this.ask(pathname, { ...Object.fromEntries(searchParams), bytes }, response);
  }

  private async run(path: string, json: unknown, response: ServerResponse): Promise<void> {
    const schema = path === '/prefill' ? prefillRequestSchema : generateRequestSchema;
    const parsed = schema.safeParse(json);
    if (!parsed.success) return refuse(response, 400, { code: 'invalid_request', message: parsed.error.message });
    const call: Call = { path, body: parsed.data as GenerateRequest, aborted: false };
    this.calls.push(call);
    response.on('close', () => {
      call.aborted = !response.writableFinished;
    });
    const send = (event: GenerateEvent) => {
      if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(encodeSse({ data: JSON.stringify(event) }));
    };
    if (this.fault !== undefined && (await this.fault(call, response, send))) return;
    await this.answer(call, response, send);
  }

  /** Speaks from the continuation on; ends with `length` after maxTokens, else with `stop` after eight words. */
  private async answer(call: Call, response: ServerResponse, send: (event: GenerateEvent) => void): Promise<void> {
    const { body, path } = call;
    const seed = body.sampling?.seed ?? 42;
    const promptTokens = countWords(body);
    send({ type: 'accepted', requestId: body.requestId, workerId: this.id, promptTokens, seed });
    send({ type: 'progress', phase: 'prefill', done: promptTokens, total: promptTokens });
    const total = path === '/prefill' ? 0 : (body.maxTokens ?? 8);
    for (let index = body.continuation?.tokens.length ?? 0; index < total; index++) {
      if (this.pace > 0) await new Promise((resolve) => setTimeout(resolve, this.pace));
      if (response.closed) return;
      send(this.token(body, seed, index));
    }
    send(this.done(promptTokens, total, path === '/generate' && body.maxTokens !== undefined));
    response.end();
  }

  token(body: GenerateRequest, seed: number, index: number): GenerateEvent {
    const text = wordAt(seed, index);
    const id = index + 100;
    const logprob = { id, text, logprob: -0.5, bytes: [...Buffer.from(text)] };
    const other = { id: 7, text: 'other', logprob: -2, bytes: [...Buffer.from('other')] };
    const top = [logprob, other].slice(0, body.sampling?.topLogprobs ?? 0);
    return { type: 'token', index, id, text, ...(body.sampling?.logprobs ? { logprob, top } : {}) };
  }

  done(promptTokens: number, completionTokens: number, isFull: boolean): GenerateEvent {
    return {
      type: 'done',
      finishReason: isFull ? 'length' : 'stop',
      usage: { promptTokens, completionTokens, cachedTokens: this.cachedTokens },
      timings: { queueMs: 1, restoreMs: 2, prefillMs: 3, decodeMs: 4, ttftMs: 6, totalMs: 10 },
      cache: {
        tier: this.cachedTokens > 0 ? 's3' : 'none',
        blocksHit: Math.floor(this.cachedTokens / 128),
        blocksTotal: 3,
        bytes: 0,
        loadMs: 0,
        recomputeMsEstimate: 0,
        savedMs: 0,
        decision: this.cachedTokens > 0 ? 'restore' : 'compute',
        ...(this.cachedTokens > 0 ? {} : { missReason: 'never_seen' as const, firstDivergentToken: 0 }),
      },
      workerId: this.id,
    };
  }
}

/** Answers with a typed error instead of a stream, as a worker does before it accepts. */
export function refuse(response: ServerResponse, status: number, error: ReturnType<typeof toWireError>): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify({ error }));
}

function countWords({ input }: GenerateRequest): number {
  if (input.kind === 'tokens') return input.tokens.length;
  const text = input.kind === 'text' ? input.text : input.messages.map(({ content }) => content).join(' ');
  return Math.max(1, text.split(/\s+/).filter(Boolean).length);
}
