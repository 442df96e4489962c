import { type CacheReport, LongshoreError, type PromptInput, type Usage } from '@longshore/core';
import { type ApiKeyGrant, recordUsage } from '@longshore/db';
import { asLongshoreError } from '../http/error-response.ts';
import type { RequestScope } from '../request-scope.ts';
import { type PrefixChain, prefixChain } from '../router/domain/prefix-chain.ts';
import { HttpWorkers } from './adapters/http-workers.ts';
import { farthestTier, type SequenceUsage, speakingReport, totalUsage } from './domain/usage-total.ts';
import type { WorkerTask } from './ports.ts';
import { Relay } from './relay.ts';

export interface RunOptions {
  scope: RequestScope;
  apiKey: ApiKeyGrant;
  /** Route pattern, as the usage row names it. */
  endpoint: string;
  model: string;
  /** The dialect's field that holds the prompt: errors about its length name it. */
  promptParam: 'messages' | 'prompt' | 'input';
  /** The client's connection. */
  clientSignal: AbortSignal;
  /** Runs when the run ends any other way than well, before the request is let go. */
  onFailure?: (error: LongshoreError) => Promise<unknown>;
}

export interface SequenceOptions {
  promptIndex?: number;
  /** Worker that last held the prompt, and the prompt's size, when it is a session's. */
  session?: { holder: string | undefined; characters: number };
}

/** Characters per token, to size a session's prompt for the router. */
export const SESSION_CHARACTERS_PER_TOKEN = 4;

/**
 * One API request's work on workers: its deadline, its cancellation, its sequences and its usage row. Whoever makes a run ends it
 * with `finish`, `fail` or `cancel`; the first of them counts.
 */
export class Run {
  readonly signal: AbortSignal;
  readonly deadline: number;
  private readonly options: RunOptions;
  private readonly controller = new AbortController();
  private readonly workers: HttpWorkers;
  private readonly sequences: { relay: Relay; promptIndex: number }[] = [];
  private readonly timer: ReturnType<typeof setTimeout>;
  private readonly ended = Promise.withResolvers<void>();
  private readonly chains = new Map<PromptInput, PrefixChain>();
  private isOver = false;
  private firstTokenAt: number | undefined;

  constructor(options: RunOptions) {
    const { scope, clientSignal } = options;
    this.options = options;
    this.workers = new HttpWorkers(scope.config.poolToken);
    this.deadline = scope.startedAt + scope.config.requestTimeoutMs;
    this.signal = this.controller.signal;
    this.timer = setTimeout(() => this.expire(), Math.max(0, this.deadline - Date.now()));
    if (clientSignal.aborted) this.cancel();
    else clientSignal.addEventListener('abort', () => this.cancel(), { once: true });
    scope.defer('run', this.ended.promise);
  }

  /** Prepares a sequence: nothing runs before its events are asked for. */
  sequence(task: WorkerTask, { promptIndex = 0, session }: SequenceOptions = {}): Relay {
    const { scope } = this.options;
    const { router } = scope;
    const { organizationId, model, input } = task.body;
    const prompt =
      session === undefined
        ? this.chainOf(organizationId, model, input)
        : { chain: [], characters: session.characters, holder: session.holder };
    const relay = new Relay({
      router,
      workers: this.workers,
      task,
      prompt,
      signal: this.signal,
      onLeave: (worker) => scope.defer('release', router.release(worker)),
    });
    this.sequences.push({ relay, promptIndex });
    return relay;
  }

  /** Choices of one prompt share its input, and so its chain. */
  private chainOf(organizationId: string, model: string, input: PromptInput): PrefixChain {
    const known = this.chains.get(input) ?? prefixChain(organizationId, model, input);
    this.chains.set(input, known);
    return known;
  }

  markFirstToken(): void {
    this.firstTokenAt ??= Date.now();
  }

  usage(): Usage {
    return totalUsage(this.sequenceUsage());
  }

  cache(): CacheReport | undefined {
    return speakingReport(this.sequenceUsage());
  }

  finish(): void {
    this.end();
  }

  /** Returns the error that the client is told. */
  fail(error: unknown): LongshoreError {
    const known = this.inDialect(asLongshoreError(error));
    if (known.code === 'internal') console.error(known.cause ?? known);
    this.controller.abort(known);
    this.end(known);
    return known;
  }

  private inDialect(error: LongshoreError): LongshoreError {
    if (error.code !== 'context_length_exceeded') return error;
    return new LongshoreError(error.code, error.message, { param: this.options.promptParam, cause: error.cause });
  }

  /** The client left: nobody reads on. */
  cancel(): void {
    if (this.isOver) return;
    const abandoned = this.sequences.map(({ relay }) => relay.abandon());
    this.options.scope.defer('cancel', Promise.all(abandoned));
    this.fail(new LongshoreError('cancelled', 'The client closed the connection.'));
  }

  private expire(): void {
    this.controller.abort(
      new LongshoreError('timeout', `The request took longer than ${this.options.scope.config.requestTimeoutMs} ms.`),
    );
  }

  private end(error?: LongshoreError): void {
    if (this.isOver) return;
    this.isOver = true;
    clearTimeout(this.timer);
    const { scope, onFailure } = this.options;
    if (this.sequences.some(({ relay }) => relay.worker !== undefined))
      scope.defer('record_usage', this.record(error?.code ?? 'ok'));
    if (error !== undefined && onFailure !== undefined) scope.defer('on_failure', onFailure(error));
    this.ended.resolve();
  }

  private sequenceUsage(): SequenceUsage[] {
    return this.sequences.map(({ relay: { accepted, done, delivered }, promptIndex }) => ({
      promptIndex,
      promptTokens: done?.usage.promptTokens ?? accepted?.promptTokens ?? 0,
      cachedTokens: done?.usage.cachedTokens ?? 0,
      completionTokens: done?.usage.completionTokens ?? delivered.length,
      tier: done?.cache.tier ?? 'none',
      cache: done?.cache,
    }));
  }

  private record(status: string): Promise<void> {
    const { scope, apiKey, endpoint, model } = this.options;
    const sequences = this.sequenceUsage();
    const cache = speakingReport(sequences);
    return scope.query((db) =>
      recordUsage(db, {
        requestId: scope.requestId,
        organizationId: apiKey.organizationId,
        projectId: apiKey.projectId,
        apiKeyId: apiKey.id,
        model,
        endpoint,
        status,
        workerId: this.sequences[0]?.relay.worker?.workerId,
        ...totalUsage(sequences),
        tier: farthestTier(sequences),
        decision: cache?.decision,
        missReason: cache?.missReason,
        firstDivergentToken: cache?.firstDivergentToken,
        loadedBytes: cache?.bytes,
        savedMs: cache?.savedMs,
        ttftMs: this.firstTokenAt === undefined ? null : this.firstTokenAt - scope.startedAt,
        totalMs: Date.now() - scope.startedAt,
      }),
    );
  }
}
