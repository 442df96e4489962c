import { LongshoreError } from '@longshore/core';
import type { ReadExactly } from './frames.ts';

/** Turns a stream of chunks into reads of exact sizes. Holds at most one chunk and what is asked for; counts up to `maxBytes`. */
export function exactReads(stream: ReadableStream<Uint8Array>, maxBytes: number): ReadExactly {
  const reader = stream.getReader();
  let rest: Uint8Array = new Uint8Array(0);
  let total = 0;

  const pull = async (): Promise<void> => {
    const { done, value } = await reader.read();
    if (done) {
      throw new LongshoreError('invalid_request', `The session file ends early, after ${total} bytes. Send all of it.`);
    }
    total += value.length;
    if (total > maxBytes) {
      throw new LongshoreError('body_too_large', `A session file may have at most ${maxBytes} bytes.`);
    }
    rest = value;
  };

  return async (count) => {
    const chunks: Uint8Array[] = [];
    let missing = count;
    while (missing > 0) {
      if (rest.length === 0) await pull();
      const taken = rest.subarray(0, missing);
      rest = rest.subarray(taken.length);
      missing -= taken.length;
      chunks.push(taken);
    }
    return Buffer.concat(chunks, count);
  };
}
