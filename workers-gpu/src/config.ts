import { BLOCK_TOKENS, decodePolicySchema } from '@longshore/core';
import { z } from 'zod';

/** Bytes of the KV pool, and the tokens of a step: what fits a small machine. */
const DEFAULT_KV_BYTES = 1024 ** 3;
const DEFAULT_HOST_TIER_BYTES = 256 * 1024 ** 2;
const DEFAULT_DISK_TIER_BYTES = 8 * 1024 ** 3;
const WEEK_SECONDS = 7 * 24 * 3600;

const whole = (minimum: number, maximum: number) => z.coerce.number().int().min(minimum).max(maximum);
const text = z.string().min(1);

/** A decode policy's type, or its JSON text. */
const decodePolicy = text.refine((value) => {
  try {
    return decodePolicySchema.safeParse(value.startsWith('{') ? JSON.parse(value) : { type: value }).success;
  } catch {
    return false;
  }
}, 'must be dense, sketch_topk, block_topk, graph, or a decode policy as JSON');

const environmentSchema = z.object({
  LONGSHORE_WORKER_ID: text.max(128),
  LONGSHORE_WORKER_HOST: text.default('127.0.0.1'),
  LONGSHORE_WORKER_PORT: whole(0, 65535),
  /** Where the edge reaches this worker; default http://host:port. */
  LONGSHORE_WORKER_URL: z.url().optional(),
  /** Absent: no heartbeats (a worker on its own). */
  LONGSHORE_EDGE_URL: z.url().optional(),
  LONGSHORE_POOL: text.max(64).default('default'),
  LONGSHORE_POOL_TOKEN: z.string().min(16, 'needs at least 16 characters'),
  LONGSHORE_MODEL: text,
  LONGSHORE_MODEL_ID: text.max(256),
  LONGSHORE_BACKEND: z.enum(['auto', 'cpu', 'cuda']).default('auto'),
  LONGSHORE_THREADS: whole(0, 1024).default(0),
  LONGSHORE_KV_BYTES: whole(1024 ** 2, 2 ** 46).default(DEFAULT_KV_BYTES),
  /** Touch the whole KV pool in the background after the start: a first use of fresh memory costs more than a copy into it. */
  LONGSHORE_TOUCH_KV: z.enum(['true', 'false']).default('true'),
  LONGSHORE_KV_DTYPE: z.enum(['bf16', 'f32']).default('bf16'),
  LONGSHORE_CODEC: z.enum(['auto', 'raw', 'lossless', 'int8', 'int4']).default('auto'),
  /** compete: load or compute, whichever is faster, block by block; always: load all that is stored (measurements). */
  LONGSHORE_RESTORE: z.enum(['compete', 'always']).default('compete'),
  /** Which keys attention reads: "default" (what was measured for the model; dense for others), "dense", another built-in name, or a policy file (docs/design/0017). */
  LONGSHORE_POLICY: text.default('default'),
  /** Attention of single tokens instead of the policy's own: "dense", "sketch_topk", "block_topk", "graph", or JSON of core's decodePolicySchema (docs/design/0018). */
  LONGSHORE_DECODE_POLICY: decodePolicy.optional(),
  LONGSHORE_MAX_BATCH_TOKENS: whole(16, 65536).default(512),
  LONGSHORE_MAX_RUNNING: whole(1, 1024).default(16),
  LONGSHORE_MAX_WAITING: whole(0, 65536).default(64),
  LONGSHORE_MASTER_KEY: z.string().regex(/^[0-9a-fA-F]{64}$/, 'needs 64 hexadecimal digits (openssl rand -hex 32)'),
  /** The master key before it, until every organization's keys are wrapped anew (longshore keys rewrap). */
  LONGSHORE_MASTER_KEY_PREVIOUS: z
    .string()
    .regex(/^[0-9a-fA-F]{64}$/, 'needs 64 hexadecimal digits')
    .optional(),
  /** Stored bytes of an organization without a quota of its own; absent: no limit. */
  LONGSHORE_ORGANIZATION_QUOTA_BYTES: whole(1024 ** 2, 2 ** 50).optional(),
  LONGSHORE_CACHE_TTL_SECONDS: whole(60, 10 * 365 * 24 * 3600).default(WEEK_SECONDS),
  /** 0: no such tier. */
  LONGSHORE_HOST_TIER_BYTES: whole(0, 2 ** 46).default(DEFAULT_HOST_TIER_BYTES),
  LONGSHORE_DISK_TIER_BYTES: whole(0, 2 ** 50).default(DEFAULT_DISK_TIER_BYTES),
  /** The worker makes a folder of its own in it. Absent: no disk tier. */
  LONGSHORE_DISK_TIER_FOLDER: text.optional(),
  /** false: only restores fill the tiers. */
  LONGSHORE_TIER_WRITE_THROUGH: z.enum(['true', 'false']).default('true'),
  /** A worker that died is taken over this long after its last sign of life; it gives five of them in that time. */
  LONGSHORE_LEASE_MS: whole(250, 600_000).default(2500),
  /** How much longer than predicted another worker's prefill is waited for. */
  LONGSHORE_FOLLOW_SLACK_MS: whole(0, 600_000).default(2000),
  /** How long running requests may take to end after SIGTERM. */
  LONGSHORE_DRAIN_SECONDS: whole(0, 3600).default(8),
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/ }),
  /** Absent: AWS. */
  S3_ENDPOINT: z.url().optional(),
  S3_REGION: text.default('us-east-1'),
  S3_BUCKET: text,
  S3_ACCESS_KEY_ID: text,
  S3_SECRET_ACCESS_KEY: text,
  S3_FORCE_PATH_STYLE: z.enum(['true', 'false']).default('true'),
});

export interface WorkerConfig {
  workerId: string;
  host: string;
  port: number;
  url: string | undefined;
  edgeUrl: string | undefined;
  pool: string;
  poolToken: string;
  model: string;
  modelId: string;
  backend: 'auto' | 'cpu' | 'cuda';
  threads: number;
  kvBytes: number;
  touchKv: boolean;
  kvDtype: 'bf16' | 'f32';
  /** `auto`: the model's by kv/domain/codec-policy.ts. */
  codec: 'auto' | 'raw' | 'lossless' | 'int8' | 'int4';
  restorePolicy: 'compete' | 'always';
  policy: string;
  /** undefined: the policy's own. */
  decodePolicy?: string | undefined;
  maxBatchTokens: number;
  maxRunning: number;
  maxWaiting: number;
  masterKey: string;
  previousMasterKey: string | undefined;
  organizationQuotaBytes: number | undefined;
  cacheTtlSeconds: number;
  leaseMs: number;
  followSlackMs: number;
  drainSeconds: number;
  tiers: {
    hostBytes: number;
    diskBytes: number;
    diskFolder: string | undefined;
    writeThrough: boolean;
  };
  databaseUrl: string;
  s3: {
    endpoint: string | undefined;
    region: string;
    bucket: string;
    accessKeyId: string;
    secretAccessKey: string;
    forcePathStyle: boolean;
  };
}

/** One line per mistake, each naming its variable. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly mistakes: readonly string[];
  constructor(mistakes: readonly string[]) {
    super(mistakes.join('\n'));
    this.mistakes = mistakes;
  }
}

/** Empty variables count as absent. Throws ConfigError. */
export function parseConfig(environment: Readonly<Record<string, string | undefined>>): Readonly<WorkerConfig> {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const result = environmentSchema.safeParse(given);
  if (!result.success) throw new ConfigError(result.error.issues.map((issue) => describe(issue, given)));
  const env = result.data;
  if (env.LONGSHORE_MAX_RUNNING > env.LONGSHORE_MAX_BATCH_TOKENS) {
    throw new ConfigError(['LONGSHORE_MAX_RUNNING: must not exceed LONGSHORE_MAX_BATCH_TOKENS']);
  }
  const room = env.LONGSHORE_MAX_BATCH_TOKENS - env.LONGSHORE_MAX_RUNNING;
  // What sparse decode wrote into a block is computed again as one step before the block is published.
  const dense = env.LONGSHORE_POLICY === 'dense' && (env.LONGSHORE_DECODE_POLICY ?? 'dense') === 'dense';
  if (!dense && room < BLOCK_TOKENS) {
    throw new ConfigError([
      `LONGSHORE_MAX_BATCH_TOKENS: must exceed LONGSHORE_MAX_RUNNING by ${BLOCK_TOKENS} under a sparse policy; or set LONGSHORE_POLICY=dense and no LONGSHORE_DECODE_POLICY`,
    ]);
  }
  return Object.freeze({
    workerId: env.LONGSHORE_WORKER_ID,
    host: env.LONGSHORE_WORKER_HOST,
    port: env.LONGSHORE_WORKER_PORT,
    url: env.LONGSHORE_WORKER_URL,
    edgeUrl: env.LONGSHORE_EDGE_URL,
    pool: env.LONGSHORE_POOL,
    poolToken: env.LONGSHORE_POOL_TOKEN,
    model: env.LONGSHORE_MODEL,
    modelId: env.LONGSHORE_MODEL_ID,
    backend: env.LONGSHORE_BACKEND,
    threads: env.LONGSHORE_THREADS,
    kvBytes: env.LONGSHORE_KV_BYTES,
    touchKv: env.LONGSHORE_TOUCH_KV === 'true',
    kvDtype: env.LONGSHORE_KV_DTYPE,
    codec: env.LONGSHORE_CODEC,
    restorePolicy: env.LONGSHORE_RESTORE,
    policy: env.LONGSHORE_POLICY,
    decodePolicy: env.LONGSHORE_DECODE_POLICY,
    maxBatchTokens: env.LONGSHORE_MAX_BATCH_TOKENS,
    maxRunning: env.LONGSHORE_MAX_RUNNING,
    maxWaiting: env.LONGSHORE_MAX_WAITING,
    masterKey: env.LONGSHORE_MASTER_KEY,
    previousMasterKey: env.LONGSHORE_MASTER_KEY_PREVIOUS,
    organizationQuotaBytes: env.LONGSHORE_ORGANIZATION_QUOTA_BYTES,
    cacheTtlSeconds: env.LONGSHORE_CACHE_TTL_SECONDS,
    leaseMs: env.LONGSHORE_LEASE_MS,
    followSlackMs: env.LONGSHORE_FOLLOW_SLACK_MS,
    drainSeconds: env.LONGSHORE_DRAIN_SECONDS,
    tiers: Object.freeze({
      hostBytes: env.LONGSHORE_HOST_TIER_BYTES,
      diskBytes: env.LONGSHORE_DISK_TIER_BYTES,
      diskFolder: env.LONGSHORE_DISK_TIER_FOLDER,
      writeThrough: env.LONGSHORE_TIER_WRITE_THROUGH === 'true',
    }),
    databaseUrl: env.DATABASE_URL,
    s3: Object.freeze({
      endpoint: env.S3_ENDPOINT,
      region: env.S3_REGION,
      bucket: env.S3_BUCKET,
      accessKeyId: env.S3_ACCESS_KEY_ID,
      secretAccessKey: env.S3_SECRET_ACCESS_KEY,
      forcePathStyle: env.S3_FORCE_PATH_STYLE === 'true',
    }),
  });
}

function describe(issue: z.core.$ZodIssue, given: Record<string, string | undefined>): string {
  const name = issue.path.join('.');
  return given[name] === undefined ? `${name}: is missing` : `${name}: ${issue.message}`;
}
