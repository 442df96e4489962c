import type { CacheIdentity } from '@longshore/core';
import type { ModelInfo } from '@longshore/native';
import type { PrefillSpeed } from '../domain/prefill-speed.ts';
import type { Scheduler } from '../domain/scheduler.ts';
import type { EngineLoop } from '../engine/engine-loop.ts';
import type { KvStore } from '../kv/index.ts';
import type { Logger } from '../telemetry/log.ts';
import type { ModelText } from '../tokenizer/model-text.ts';
import type { PrefixFollower } from './prefix-follower.ts';
import type { PrefixPlanner } from './prefix-planner.ts';
import type { PrefixRestorer } from './prefix-restorer.ts';
import type { PromptBuilder } from './prompt-builder.ts';
import type { RequestGate } from './request-gate.ts';
import type { SessionRows } from './session-rows.ts';

/** Everything a request needs; wired once in worker.ts. */
export interface WorkerParts {
  workerId: string;
  modelId: string;
  info: ModelInfo;
  text: ModelText;
  /** Tokens of prompt and answer together, at most. */
  contextLimit: number;
  loop: EngineLoop;
  scheduler: Scheduler;
  speed: PrefillSpeed;
  kv: KvStore;
  /** What the KV's namespace is made of. */
  identity: CacheIdentity;
  /** Tells session files that this platform's workers wrote from others. */
  fileKey: Uint8Array;
  sessions: SessionRows;
  prompts: PromptBuilder;
  planner: PrefixPlanner;
  restorer: PrefixRestorer;
  follower: PrefixFollower;
  gate: RequestGate;
  log: Logger;
  /** Monotonic milliseconds. */
  now: () => number;
  /** Epoch milliseconds, for deadlines. */
  wallClock: () => number;
  randomSeed: () => number;
}
