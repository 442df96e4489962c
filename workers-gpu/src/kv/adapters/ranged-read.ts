import type { HedgeClock } from '../domain/hedge-clock.ts';
import type { Slots } from '../slots.ts';

/** Fills `part` with the bytes from `offset` on; `took` hears of every piece. Ends at once when aborted, and writes no more then. */
export type ReadPart = (
  offset: number,
  part: Uint8Array,
  signal: AbortSignal,
  took: (bytes: number) => void,
) => Promise<void>;

export interface RangedReadOptions {
  target: Uint8Array;
  partBytes: number;
  read: ReadPart;
  /** Connections, shared by all reads; parts are served in the order of their asking. */
  connections: Slots;
  clock: HedgeClock;
  signal: AbortSignal;
  /** Bytes that have arrived without a gap from the start. What it throws ends the read. */
  onProgress?: ((filled: number) => void) | undefined;
  now: () => number;
}

/** Reads one object in parts over several connections, a part that takes too long over two. Rejects with the first part's error. */
export async function readInParts(options: RangedReadOptions): Promise<void> {
  const { target, partBytes, onProgress } = options;
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  const count = Math.ceil(target.length / partBytes);
  const arrived = new Array<number>(count).fill(0);
  let whole = 0;
  const took = (index: number, bytes: number) => {
    arrived[index]! += bytes;
    if (index !== whole) return;
    while (whole < count - 1 && arrived[whole]! >= partBytes) whole++;
    onProgress?.(whole * partBytes + arrived[whole]!);
  };
  let error: unknown;
  const readPart = async (index: number) => {
    try {
      const offset = index * partBytes;
      const part = target.subarray(offset, Math.min(target.length, offset + partBytes));
      const release = await options.connections.acquire(signal);
      if (release === undefined) throw new Error('too many reads wait for a connection');
      try {
        signal.throwIfAborted();
        await readHedged(options, offset, part, signal, (bytes) => took(index, bytes));
      } finally {
        release();
      }
    } catch (cause) {
      error ??= cause;
      failed.abort(cause);
    }
  };
  // All of them end before this does: nobody writes into the target afterwards.
  await Promise.all(Array.from({ length: count }, (_, index) => readPart(index)));
  if (error !== undefined) throw error;
}

async function readHedged(
  { read, clock, now }: RangedReadOptions,
  offset: number,
  part: Uint8Array,
  signal: AbortSignal,
  took: (bytes: number) => void,
): Promise<void> {
  const startedAt = now();
  const stopFirst = new AbortController();
  let heard = 0;
  clock.asked();
  const first = read(offset, part, AbortSignal.any([signal, stopFirst.signal]), (bytes) => {
    heard += bytes;
    took(bytes);
  });
  const timeoutMs = clock.timeoutMs();
  if (timeoutMs === undefined || !(await isLate(first, timeoutMs)) || !clock.take()) {
    await first;
    return clock.observe(now() - startedAt);
  }
  const stopSecond = new AbortController();
  const spare = Buffer.allocUnsafeSlow(part.length);
  const second = read(offset, spare, AbortSignal.any([signal, stopSecond.signal]), () => {});
  const ends = [first.then(() => false), second.then(() => true)];
  const spared = await Promise.any(ends).catch(() => first.then(() => false));
  (spared ? stopFirst : stopSecond).abort();
  await Promise.allSettled([first, second]);
  clock.observe(now() - startedAt);
  if (!spared) return;
  part.set(spare);
  took(part.length - heard);
}

/** Whether it has not ended after so long. */
async function isLate(reading: Promise<void>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(true), timeoutMs);
  });
  const ended = reading.then(
    () => false,
    () => false,
  );
  return Promise.race([ended, late]).finally(() => clearTimeout(timer));
}
