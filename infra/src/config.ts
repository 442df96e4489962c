import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { Failure } from './failure.ts';

/** The repository's root. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));

const port = z.coerce.number().int().min(1).max(65535);
const flag = z.enum(['true', 'false', '1', '0']).transform((text) => text === 'true' || text === '1');

const environment = z
  .object({
    LONGSHORE_HOME: z.string().min(1).default(join(ROOT, '.longshore')),
    LONGSHORE_PORT: port.default(8787),
    LONGSHORE_WORKERS: z.coerce.number().int().min(1).max(64).default(2),
    /** A registered name, a pulled name, or the path of a .gguf file or a Hugging Face folder. */
    LONGSHORE_MODEL: z.string().min(1).default('smollm2-135m-instruct'),
    DATABASE_URL: z
      .string()
      .regex(/^postgres(ql)?:\/\//, 'is no postgres:// connection string')
      .optional(),
    S3_ENDPOINT: z.url().optional(),
    S3_REGION: z.string().default('us-east-1'),
    S3_BUCKET: z.string().min(3).default('longshore'),
    S3_ACCESS_KEY_ID: z.string().optional(),
    S3_SECRET_ACCESS_KEY: z.string().optional(),
    S3_FORCE_PATH_STYLE: flag.default(true),
    LONGSHORE_MASTER_KEY: z
      .string()
      .regex(/^[0-9a-f]{64}$/, 'must be 64 hex digits')
      .optional(),
    /** The one before it, until `longshore keys rewrap` has run. */
    LONGSHORE_MASTER_KEY_PREVIOUS: z
      .string()
      .regex(/^[0-9a-f]{64}$/, 'must be 64 hex digits')
      .optional(),
    HF_TOKEN: z.string().optional(),
    HF_ENDPOINT: z.url().optional(),
  })
  .refine((env) => !env.S3_ENDPOINT || (env.S3_ACCESS_KEY_ID && env.S3_SECRET_ACCESS_KEY), {
    message: 'S3_ENDPOINT needs S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY beside it',
  });

export interface ObjectStoreConfig {
  endpoint: string;
  region: string;
  bucket: string;
  accessKeyId: string;
  secretAccessKey: string;
  forcePathStyle: boolean;
}

export interface Config {
  /** Models, the embedded parts' data, logs and secrets. Absolute. */
  readonly home: string;
  /** Of the edge. */
  readonly port: number;
  readonly workers: number;
  readonly model: string;
  /** Absent: the embedded Postgres. */
  readonly databaseUrl: string | undefined;
  /** Absent: the local S3. */
  readonly objectStore: ObjectStoreConfig | undefined;
  readonly bucket: string;
  /** Wins over the one generated in the home folder. */
  readonly masterKey: string | undefined;
  /** Still opens what it wrapped. */
  readonly previousMasterKey: string | undefined;
  /** What child processes inherit: a worker reads its own LONGSHORE_* from it. */
  readonly environment: NodeJS.ProcessEnv;
  readonly huggingFace: { token: string | undefined; endpoint: string | undefined };
}

/** Reads and checks the environment once. Throws a Failure that names the variable at fault. */
export function readConfig(env: NodeJS.ProcessEnv, overrides: Partial<Config> = {}): Config {
  const parsed = environment.safeParse(env);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new Failure(`${issue.path.join('.') || 'environment'}: ${issue.message}`);
  }
  const value = parsed.data;
  return Object.freeze({
    home: resolve(value.LONGSHORE_HOME),
    port: value.LONGSHORE_PORT,
    workers: value.LONGSHORE_WORKERS,
    model: value.LONGSHORE_MODEL,
    databaseUrl: value.DATABASE_URL,
    objectStore: value.S3_ENDPOINT
      ? {
          endpoint: value.S3_ENDPOINT,
          region: value.S3_REGION,
          bucket: value.S3_BUCKET,
          accessKeyId: value.S3_ACCESS_KEY_ID!,
          secretAccessKey: value.S3_SECRET_ACCESS_KEY!,
          forcePathStyle: value.S3_FORCE_PATH_STYLE,
        }
      : undefined,
    bucket: value.S3_BUCKET,
    masterKey: value.LONGSHORE_MASTER_KEY,
    previousMasterKey: value.LONGSHORE_MASTER_KEY_PREVIOUS,
    environment: env,
    huggingFace: { token: value.HF_TOKEN, endpoint: value.HF_ENDPOINT },
    ...overrides,
  });
}
