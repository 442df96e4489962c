import { z } from 'zod';

/** Seconds between heartbeats, and the age from which the router no longer picks a worker. */
export const HEARTBEAT_INTERVAL_MS = 1000;
export const HEARTBEAT_STALE_MS = 3500;

/** POST /internal/heartbeats on the edge, with the pool token as bearer. */
export const heartbeatSchema = z.object({
  workerId: z.string().min(1).max(128),
  /** Random per process start: a restarted worker owns nothing that its predecessor held. */
  epoch: z.string().min(1).max(64),
  pool: z.string().min(1).max(64),
  /** Where the edge reaches the worker, e.g. http://127.0.0.1:8790 */
  url: z.url(),
  state: z.enum(['ready', 'draining', 'unhealthy']),
  model: z.object({
    id: z.string().min(1).max(256),
    family: z.string(),
    contextLength: z.number().int().positive(),
    chat: z.boolean(),
    createdAt: z.number().int(),
  }),
  load: z.object({
    running: z.number().int().min(0),
    waiting: z.number().int().min(0),
    maxRunning: z.number().int().positive(),
    maxWaiting: z.number().int().min(0),
    /** Tokens still to prefill, over all requests. */
    queuedTokens: z.number().int().min(0),
    freeBlocks: z.number().int().min(0),
    totalBlocks: z.number().int().positive(),
    prefillTokensPerSecond: z.number().min(0),
  }),
});
export type Heartbeat = z.infer<typeof heartbeatSchema>;
