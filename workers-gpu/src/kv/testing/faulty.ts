import { setTimeout as sleep } from 'node:timers/promises';
import { type ReadOptions, StoreError } from '../ports.ts';

/**
 * Wraps a port (object store, tier, block directory) so that its calls can be made to fail, stall or lie, one chosen call at a time.
 * Wrappers compose: wrap a wrapped port with another plan for a second fault.
 *
 * Honest failures. `before`: the call fails without effect. `after`: it takes effect and then reports failure, as a lost answer does.
 * `dead`, `dead_after`: it and every later call fail without effect, as for a process that died (`dead_after`: the k-th took effect).
 * `delay`: right, `delayMs` late. `stall`: no effect, silent for `stallMs`, then a timeout; a reader's abort ends it sooner.
 * `reset`: the connection breaks half way: a read has filled half of its target, everything else had no effect.
 *
 * Lies, reported as success. `truncation`: a put keeps the first half, a read ends half way, a head names half the size, a list answer
 * lacks its second half. `bit_flip`: one bit of what a put keeps or a read delivers is another. `nothing`: answers as if there were
 * nothing (undefined, no items, a missing object), without effect; a put or delete claims success without effect. A lie that the called
 * method has no way to tell leaves the call as it is; `plan.injected` says whether anything happened.
 */
export type FaultMode =
  | 'before'
  | 'after'
  | 'dead'
  | 'dead_after'
  | 'delay'
  | 'stall'
  | 'reset'
  | 'truncation'
  | 'bit_flip'
  | 'nothing';

export const FAULT_MODES: readonly FaultMode[] = [
  'before',
  'after',
  'dead',
  'dead_after',
  'delay',
  'stall',
  'reset',
  'truncation',
  'bit_flip',
  'nothing',
];

export interface FaultPlan {
  /** Index of the call that fails, counted over all ports that share the plan from 0 on; undefined: none. */
  failAt: number | undefined;
  /** May be changed while calls are made. */
  mode: FaultMode;
  /** True: every call from `failAt` on, not only that one. */
  lasting: boolean;
  /** Only these methods are counted and can fail; undefined: all. */
  methods: readonly string[] | undefined;
  delayMs: number;
  stallMs: number;
  /** The bit that flips, counted from the front of the body, modulo its length. Default: the last one. */
  flippedBit: number;
  calls: number;
  /** Calls whose effect or answer the plan changed. */
  injected: number;
  /** "method" of each call so far. */
  log: string[];
}

export function faultPlan(failAt: number | undefined, mode: FaultMode, more: Partial<FaultPlan> = {}): FaultPlan {
  return {
    failAt,
    mode,
    lasting: mode.startsWith('dead'),
    methods: undefined,
    delayMs: 20,
    stallMs: 50,
    flippedBit: -1,
    calls: 0,
    injected: 0,
    log: [],
    ...more,
  };
}

type Method = (...args: unknown[]) => unknown;

export function faulty<T extends object>(port: T, plan: FaultPlan): T {
  return new Proxy(port, {
    get(target, name) {
      const member = Reflect.get(target, name) as unknown;
      if (typeof member !== 'function') return member;
      const method = String(name);
      const call: Method = (...args) => member.apply(target, args);
      if (plan.methods && !plan.methods.includes(method)) return call;
      return async (...args: unknown[]) => {
        const index = plan.calls++;
        plan.log.push(method);
        const { failAt } = plan;
        const chosen = failAt !== undefined && (plan.lasting ? index >= failAt : index === failAt);
        if (!chosen) return call(...args);
        return injected(call, { method, args, index, first: index === failAt, plan });
      };
    },
  });
}

interface Injection {
  method: string;
  args: unknown[];
  index: number;
  /** Of a lasting fault: the call that it begins with. */
  first: boolean;
  plan: FaultPlan;
}

async function injected(call: Method, injection: Injection): Promise<unknown> {
  const { method, args, index, first, plan } = injection;
  const failure = new StoreError('unavailable', `injected fault in call ${index}, ${method}`);
  plan.injected++;
  switch (plan.mode) {
    case 'before':
    case 'dead':
      throw failure;
    case 'dead_after':
    case 'after':
      if (plan.mode === 'after' || first) await call(...args);
      throw failure;
    case 'delay': {
      const result = await call(...args);
      await sleep(plan.delayMs);
      return result;
    }
    case 'stall':
      await stalled(plan.stallMs, optionsOf(args)?.signal);
      throw new StoreError('timeout', `injected stall in call ${index}, ${method}`);
    case 'reset':
      if (isRead(method)) await readHalf(call, args);
      throw failure;
    default:
      return lie(call, injection);
  }
}

async function lie(call: Method, { method, args, plan }: Injection): Promise<unknown> {
  const { mode } = plan;
  if (method === 'put' || method === 'fill') {
    const [key, body, ...rest] = args as [string, Uint8Array, ...unknown[]];
    if (mode === 'nothing') return method === 'fill' ? true : undefined;
    const kept = mode === 'bit_flip' ? flipped(body, plan.flippedBit) : body.slice(0, body.length >> 1);
    return call(key, kept, ...rest);
  }
  if (isRead(method)) {
    if (mode === 'nothing') throw new StoreError('missing', `no object ${String(args[0])}`);
    if (mode === 'truncation') {
      await readHalf(call, args);
      throw new StoreError('truncated', `object ${String(args[0])} is too short`);
    }
    return readFlipped(call, args, plan.flippedBit);
  }
  if (mode === 'nothing' && (method === 'delete' || method === 'remove')) return undefined;
  const result = await call(...args);
  if (mode === 'truncation' && Array.isArray(result)) return result.slice(0, result.length >> 1);
  if (mode === 'truncation' && method === 'head' && result)
    return { ...result, size: (result as { size: number }).size >> 1 };
  if (mode === 'nothing' && Array.isArray(result)) return [];
  if (mode === 'nothing' && (method === 'head' || method.startsWith('find'))) return undefined;
  plan.injected--;
  return result;
}

const isRead = (method: string): boolean => method === 'readInto';
const optionsOf = (args: unknown[]): ReadOptions | undefined => args[2] as ReadOptions | undefined;

async function stalled(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, undefined, signal ? { signal } : {});
  } catch (cause) {
    throw new StoreError('cancelled', 'reading was cancelled', cause);
  }
}

async function readHalf(call: Method, args: unknown[]): Promise<void> {
  const [key, target, ...rest] = args as [string, Uint8Array, ...unknown[]];
  await call(key, target.subarray(0, target.length >> 1), ...rest);
}

async function readFlipped(call: Method, args: unknown[], bit: number): Promise<unknown> {
  const [key, target, options, ...rest] = args as [string, Uint8Array, ReadOptions | undefined, ...unknown[]];
  const result = await call(key, target, { ...options, onProgress: undefined }, ...rest);
  target.set(flipped(target, bit));
  options?.onProgress?.(target.length);
  return result;
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const bits = bytes.length * 8;
  const at = bits === 0 ? 0 : ((bit % bits) + bits) % bits;
  const copy = new Uint8Array(bytes);
  if (bits > 0) copy[at >> 3]! ^= 1 << (at & 7);
  return copy;
}
