import { randomBytes } from 'node:crypto';
import {
  type AttentionReport,
  type AttentionRequest,
  BLOCK_TOKENS,
  type CacheIdentity,
  type CanonicalValue,
  type GenerateRequest,
  type Heartbeat,
  namespaceOf,
  type PrefillRequest,
  type TruncateAnswer,
  type TruncateRequest,
  toHex,
} from '@longshore/core';
import { type Database, masterKeyFrom } from '@longshore/db';
import type { Engine } from '@longshore/native';
import type { WorkerConfig } from './config.ts';
import { BlockManager } from './domain/block-manager.ts';
import { PrefillSpeed } from './domain/prefill-speed.ts';
import { Scheduler } from './domain/scheduler.ts';
import { TierSpeeds } from './domain/tier-speeds.ts';
import { calibratePrefill } from './engine/calibrate.ts';
import { EngineLoop } from './engine/engine-loop.ts';
import {
  chooseCodec,
  createKvStore,
  createPostgresDirectory,
  createPostgresKeyRing,
  createPostgresMissRecords,
  type KvStoreOptions,
  type ObjectStore,
  type Tier,
} from './kv/index.ts';
import type { OpenedModel } from './open-model.ts';
import { attentionReport } from './serving/attention-report.ts';
import { type Emit, generate } from './serving/generate.ts';
import { prefill } from './serving/prefill.ts';
import { PrefixFollower } from './serving/prefix-follower.ts';
import { PrefixPlanner } from './serving/prefix-planner.ts';
import { PrefixRestorer } from './serving/prefix-restorer.ts';
import { PromptBuilder } from './serving/prompt-builder.ts';
import { RequestGate } from './serving/request-gate.ts';
import { postgresSessionRows } from './serving/session-rows.ts';
import { SessionTurns } from './serving/session-turns.ts';
import { retryAfterSeconds } from './serving/start-run.ts';
import { truncate } from './serving/truncate.ts';
import type { WorkerParts } from './serving/worker-parts.ts';
import { fileKeyOf } from './session-file/frames.ts';
import { SessionFiles } from './session-file/session-files.ts';
import { registerDecodeMetrics } from './telemetry/decode-metrics.ts';
import type { Logger } from './telemetry/log.ts';
import { WorkerMetrics } from './telemetry/metrics.ts';
import { registerStoreMetrics } from './telemetry/store-metrics.ts';
import { registerTierMetrics } from './telemetry/tier-metrics.ts';

/** Until the first measurements: a slow computer. */
const PRIOR_PREFILL_TOKENS_PER_SECOND = 500;
const FLUSH_MS = 4000;

export interface WorkerOptions {
  config: WorkerConfig;
  model: OpenedModel;
  objects: ObjectStore;
  /** Nearest first; default none. Closed with the worker. */
  tiers?: readonly Tier[];
  database: Database;
  /** Changes to the KV store: other ports, ages or intervals than those that follow from the rest. */
  store?: Partial<KvStoreOptions>;
  log: Logger;
  /** The engine is broken: the process should end so that its supervisor starts a new one. */
  onFault: (error: unknown) => void;
}

export type WorkerState = Heartbeat['state'];

/** One engine and everything around it. */
export class Worker {
  readonly parts: WorkerParts;
  readonly metrics: WorkerMetrics;
  readonly epoch = randomBytes(8).toString('hex');
  private readonly config: WorkerConfig;
  private readonly engine: Engine;
  private readonly turns: SessionTurns;
  readonly files: SessionFiles;
  private readonly startedAt = Date.now();

  constructor(options: WorkerOptions) {
    const { config, model, log } = options;
    const { engine, text, kvBlocks } = model;
    const { info } = engine;
    this.config = config;
    this.engine = engine;
    const now = () => performance.now();
    const { maxRunning, maxWaiting, maxBatchTokens, workerId } = config;
    const scheduler = new Scheduler(new BlockManager(kvBlocks), {
      maxRunning,
      maxWaiting,
      maxBatchTokens,
      ...(info.denseTokens < info.contextLength ? { denseTokens: info.denseTokens } : {}),
    });
    const speed = new PrefillSpeed(PRIOR_PREFILL_TOKENS_PER_SECOND);
    const transfer = new TierSpeeds();
    const { layers, kvHeads, headDim, kvDtype, kvBytesPerToken } = info;
    const { codec, reason } = chooseCodec(info, config.codec);
    log.info('codec', { codec, reason });
    const identity: CacheIdentity = {
      weights: info.weightsDigest,
      config: JSON.parse(info.configJson) as CanonicalValue,
      tokenizer: text.tokenizer.digest,
      kvDtype,
      codec,
      codecParameter: 0,
      policy: JSON.parse(info.policyJson) as CanonicalValue,
      numerics: info.numerics,
    };
    const kv = createKvStore({
      engine,
      objects: options.objects,
      tiers: options.tiers ?? [],
      writeThrough: config.tiers.writeThrough,
      estimateMs: (first, end) => speed.estimateMs(first, end),
      directory: createPostgresDirectory(options.database, { defaultQuotaBytes: config.organizationQuotaBytes }),
      keyRing: createPostgresKeyRing(options.database, masterKeyFrom(config.masterKey, config.previousMasterKey)),
      namespace: namespaceOf(identity),
      diagnosis: { records: createPostgresMissRecords(options.database), identity },
      shape: { layers, kvHeads, headDim, kvDtype, codec },
      workerId,
      epoch: this.epoch,
      ttlSeconds: config.cacheTtlSeconds,
      leaseMs: config.leaseMs,
      onFault: (fault) => {
        // A read that was given up because its blocks were computed sooner is no fault.
        if (fault.kind !== 'cancelled') log.warn('store_fault', { ...fault });
      },
      ...options.store,
    });
    const loop = new EngineLoop({
      engine,
      scheduler,
      speed,
      now,
      onStep: (step) => this.metrics.stepEnded(step),
      onPreempted: (count) => this.metrics.preempted(count),
      onFault: (error) => {
        log.error('engine_fault', { error });
        options.onFault(error);
      },
    });
    const gate = new RequestGate(maxRunning + maxWaiting, () => retryAfterSeconds({ scheduler, speed }));
    this.parts = {
      workerId,
      modelId: config.modelId,
      info,
      text,
      contextLimit: Math.min(info.contextLength, kvBlocks * BLOCK_TOKENS),
      loop,
      scheduler,
      speed,
      kv,
      identity,
      fileKey: fileKeyOf(config.masterKey),
      sessions: postgresSessionRows(options.database),
      prompts: new PromptBuilder(text, info.vocab),
      planner: new PrefixPlanner({
        kv,
        scheduler,
        speed,
        transfer,
        workerId,
        kvBytesPerToken,
        restorePolicy: config.restorePolicy,
        randomRoot: () => randomBytes(32),
      }),
      follower: new PrefixFollower({
        kv,
        speed,
        workerId,
        slackMs: config.followSlackMs,
        now,
        onGaveUp: (reason) => log.info('follow_given_up', { reason }),
      }),
      restorer: new PrefixRestorer({
        kv,
        transfer,
        compute: speed,
        kvBytesPerToken,
        maxBatchTokens,
        policy: config.restorePolicy,
        now,
      }),
      gate,
      log,
      now,
      wallClock: () => Date.now(),
      randomSeed: () => randomBytes(6).readUIntBE(0, 6),
    };
    this.turns = new SessionTurns(this.parts);
    this.files = new SessionFiles(this.parts, this.turns);
    this.metrics = new WorkerMetrics({
      running: () => scheduler.running.length,
      waiting: () => scheduler.waiting.length,
      queuedTokens: () => scheduler.queuedTokens,
      freeBlocks: () => scheduler.blocks.available,
      cachedBlocks: () => scheduler.blocks.cachedCount,
      totalBlocks: () => scheduler.blocks.capacity,
      publishQueueBlocks: () => kv.stats().publishQueueBlocks,
      storeBreakerOpen: () => Number(kv.stats().storeBreakerOpen),
      prefillTokensPerSecond: () => speed.tokensPerSecond,
      storeMegabytesPerSecond: () => transfer.of('s3').megabytesPerSecond,
      diskMegabytesPerSecond: () => transfer.of('disk').megabytesPerSecond,
      hostMegabytesPerSecond: () => transfer.of('host').megabytesPerSecond,
    });
    registerStoreMetrics(this.metrics.registry, () => kv.stats());
    registerTierMetrics(this.metrics.registry, () => kv.stats().tiers);
    registerDecodeMetrics(this.metrics.registry, () => this.engine.stats());
    loop.start();
  }

  /** Once, before requests come: learns how fast this machine prefills. */
  async calibrate(): Promise<void> {
    const { scheduler, speed, now } = this.parts;
    const { capacity } = scheduler.blocks;
    await calibratePrefill(this.engine, capacity, scheduler.limits.maxBatchTokens, speed, now);
  }

  get state(): WorkerState {
    if (!this.parts.loop.healthy) return 'unhealthy';
    return this.parts.gate.draining ? 'draining' : 'ready';
  }

  generate(request: GenerateRequest, signal: AbortSignal, emit: Emit): Promise<void> {
    return generate(this.parts, this.turns, request, signal, emit);
  }

  prefill(request: PrefillRequest, signal: AbortSignal, emit: Emit): Promise<void> {
    return prefill(this.parts, this.turns, request, signal, emit);
  }

  attention(request: AttentionRequest, signal: AbortSignal): Promise<AttentionReport> {
    return attentionReport(this.parts, this.engine, request, signal);
  }

  truncate(request: TruncateRequest): Promise<TruncateAnswer> {
    return truncate(this.parts, this.turns, request);
  }

  private load(): Heartbeat['load'] {
    const { scheduler, speed, gate } = this.parts;
    const running = scheduler.running.length;
    return {
      running,
      // Requests that are still being tokenized or planned, or wait for another worker, count as waiting.
      waiting: Math.max(scheduler.waiting.length, gate.count - running),
      maxRunning: this.config.maxRunning,
      maxWaiting: this.config.maxWaiting,
      queuedTokens: scheduler.queuedTokens,
      freeBlocks: scheduler.blocks.available,
      totalBlocks: scheduler.blocks.capacity,
      prefillTokensPerSecond: speed.tokensPerSecond,
    };
  }

  heartbeat(url: string): Heartbeat {
    const { info, text } = this.parts;
    return {
      workerId: this.config.workerId,
      epoch: this.epoch,
      pool: this.config.pool,
      url,
      state: this.state,
      model: {
        id: this.config.modelId,
        family: info.family,
        contextLength: this.parts.contextLimit,
        chat: text.template !== null,
        createdAt: Math.floor(this.startedAt / 1000),
      },
      load: this.load(),
    };
  }

  /** GET /stats. Sizes in bytes, times in milliseconds. */
  stats() {
    const { scheduler, gate, kv, info } = this.parts;
    return {
      workerId: this.config.workerId,
      epoch: this.epoch,
      state: this.state,
      uptimeMs: Date.now() - this.startedAt,
      requests: gate.count,
      load: this.load(),
      blocks: {
        total: scheduler.blocks.capacity,
        available: scheduler.blocks.available,
        cached: scheduler.blocks.cachedCount,
        evictions: scheduler.blocks.evictionCount,
        bytesPerBlock: info.kvBytesPerToken * BLOCK_TOKENS,
      },
      engine: this.engine.stats(),
      kv: kv.stats(),
      model: { ...info, configJson: undefined, namespace: toHex(kv.namespace) },
    };
  }

  /** No new requests; resolves true when the running ones have ended and what they published is stored. */
  async drain(): Promise<boolean> {
    const ended = await this.parts.gate.drain(this.config.drainSeconds * 1000);
    return (await this.parts.kv.flush(FLUSH_MS)) && ended;
  }

  /** Ends everything that still runs. The engine stays open: whoever opened it closes it. */
  async close(): Promise<void> {
    await this.parts.loop.stop();
    await this.parts.kv.close();
  }
}
