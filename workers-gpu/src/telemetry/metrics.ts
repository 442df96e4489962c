import type { ErrorCode, GenerateEvent } from '@longshore/core';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** Gauges are read when Prometheus asks. */
export interface GaugeSources {
  running(): number;
  waiting(): number;
  queuedTokens(): number;
  freeBlocks(): number;
  cachedBlocks(): number;
  totalBlocks(): number;
  publishQueueBlocks(): number;
  storeBreakerOpen(): number;
  prefillTokensPerSecond(): number;
  storeMegabytesPerSecond(): number;
  diskMegabytesPerSecond(): number;
  hostMegabytesPerSecond(): number;
}

const RATIOS = [0.5, 0.75, 1, 1.05, 1.1, 1.25, 1.5, 2, 5, 10];
const SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** The worker's Prometheus metrics; names carry their unit last. */
export class WorkerMetrics {
  readonly registry = new Registry();
  private readonly requests: Counter;
  private readonly ttft: Histogram;
  private readonly tokens: Counter;
  private readonly cacheDecisions: Counter;
  private readonly savedSeconds: Counter;
  private readonly estimates: Histogram;
  private readonly regret: Histogram;
  private readonly stepSeconds: Histogram;
  private readonly stepTokens: Counter;
  private readonly computedBlocks: Counter;
  private readonly preemptions: Counter;
  private readonly heartbeatFailures: Counter;

  constructor(gauges: GaugeSources) {
    const registers = [this.registry];
    const counter = (name: string, help: string, labelNames: string[] = []) =>
      new Counter({ name, help, labelNames, registers });
    const histogram = (name: string, help: string, labelNames: string[] = [], buckets = SECONDS) =>
      new Histogram({ name, help, labelNames, buckets, registers });
    this.requests = counter('longshore_worker_requests_total', 'Ended requests', ['kind', 'code']);
    this.ttft = histogram('longshore_worker_ttft_seconds', 'Arrival to first token', ['tier']);
    this.tokens = counter('longshore_worker_tokens_total', 'Tokens by what they cost', ['kind']);
    this.cacheDecisions = counter('longshore_worker_cache_total', 'Prompts by cache outcome', [
      'tier',
      'decision',
      'miss_reason',
    ]);
    this.savedSeconds = counter('longshore_worker_cache_saved_seconds_total', 'Prefill time that caches saved');
    this.estimates = histogram(
      'longshore_worker_restore_estimate_seconds',
      'Expected time to have a stored prefix, by way',
      ['way'],
    );
    this.regret = histogram(
      'longshore_worker_restore_regret',
      'Time until a stored prefix was on the device / the lesser of the estimates',
      [],
      RATIOS,
    );
    this.stepSeconds = histogram('longshore_worker_step_seconds', 'Engine steps', ['phase']);
    this.stepTokens = counter('longshore_worker_step_tokens_total', 'Tokens that went through the engine', ['phase']);
    this.computedBlocks = counter('longshore_worker_computed_blocks_total', 'Complete KV blocks computed here');
    this.preemptions = counter('longshore_worker_preemptions_total', 'Sequences that gave their blocks up');
    this.heartbeatFailures = counter('longshore_worker_heartbeat_failures_total', 'Heartbeats the edge did not take');
    for (const [name, read] of Object.entries(gauges) as Array<[string, () => number]>) {
      const snake = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      new Gauge({
        name: `longshore_worker_${snake}`,
        help: `Present ${snake.replaceAll('_', ' ')}`,
        registers,
        collect() {
          this.set(read());
        },
      });
    }
    collectDefaultMetrics({ register: this.registry });
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  render(): Promise<string> {
    return this.registry.metrics();
  }

  requestEnded(kind: string, code: ErrorCode | 'ok', done: Extract<GenerateEvent, { type: 'done' }> | undefined): void {
    this.requests.inc({ kind, code });
    if (done === undefined) return;
    const { usage, timings, cache } = done;
    this.ttft.observe({ tier: cache.tier }, timings.ttftMs / 1000);
    this.tokens.inc({ kind: 'cached' }, usage.cachedTokens);
    this.tokens.inc({ kind: 'computed' }, usage.promptTokens - usage.cachedTokens);
    this.tokens.inc({ kind: 'generated' }, usage.completionTokens);
    this.cacheDecisions.inc({ tier: cache.tier, decision: cache.decision, miss_reason: cache.missReason ?? '' });
    this.savedSeconds.inc(Math.max(0, cache.savedMs) / 1000);
    if (cache.loadMsEstimate !== undefined) this.estimates.observe({ way: 'load' }, cache.loadMsEstimate / 1000);
    if (cache.computeMsEstimate !== undefined)
      this.estimates.observe({ way: 'compute' }, cache.computeMsEstimate / 1000);
    if (cache.regretEstimate !== undefined) this.regret.observe(cache.regretEstimate);
  }

  stepEnded(step: { ms: number; prefillTokens: number; decodeTokens: number; blocks: number }): void {
    const phase = step.prefillTokens === 0 ? 'decode' : step.decodeTokens === 0 ? 'prefill' : 'mixed';
    this.stepSeconds.observe({ phase }, step.ms / 1000);
    this.stepTokens.inc({ phase: 'prefill' }, step.prefillTokens);
    this.stepTokens.inc({ phase: 'decode' }, step.decodeTokens);
    this.computedBlocks.inc(step.blocks);
  }

  preempted(count: number): void {
    this.preemptions.inc(count);
  }

  heartbeatFailed(): void {
    this.heartbeatFailures.inc();
  }
}
