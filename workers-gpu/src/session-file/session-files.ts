import { type ExportRequest, type ImportAnswer, type ImportRequest, LongshoreError } from '@longshore/core';
import type { SessionTurns } from '../serving/session-turns.ts';
import type { WorkerParts } from '../serving/worker-parts.ts';
import { exportSession } from './export.ts';
import { importSession } from './import.ts';

/** Each holds a few objects of KV in memory. */
const MAX_AT_ONCE = 2;

/** Exports and imports of sessions, a few at a time. */
export class SessionFiles {
  private readonly parts: WorkerParts;
  private readonly turns: SessionTurns;
  private running = 0;

  constructor(parts: WorkerParts, turns: SessionTurns) {
    this.parts = parts;
    this.turns = turns;
  }

  /** The file in pieces. Throws overloaded, or what finding the session throws; `onEnd` runs once, however the reading ends. */
  async export(request: ExportRequest, signal: AbortSignal, onEnd: () => void): Promise<ReadableStream<Uint8Array>> {
    const leave = this.enter(onEnd);
    try {
      const pieces = await exportSession(this.parts, this.turns, request, signal);
      return streamOf(pieces, leave);
    } catch (error) {
      leave();
      throw error;
    }
  }

  async import(request: ImportRequest, body: ReadableStream<Uint8Array>, signal: AbortSignal): Promise<ImportAnswer> {
    const leave = this.enter(() => {});
    try {
      return await importSession(this.parts, this.turns, request, body, signal);
    } finally {
      leave();
    }
  }

  private enter(onEnd: () => void): () => void {
    if (this.running >= MAX_AT_ONCE) {
      throw new LongshoreError('overloaded', `${MAX_AT_ONCE} sessions are being exported or imported here already.`, {
        retryAfterSeconds: 5,
      });
    }
    this.running++;
    let hasLeft = false;
    return () => {
      if (hasLeft) return;
      hasLeft = true;
      this.running--;
      onEnd();
    };
  }
}

/** Pulled piece by piece, so that a slow reader holds nothing but the piece it waits for. */
function streamOf(pieces: AsyncGenerator<Uint8Array>, onEnd: () => void): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await pieces.next();
          if (!done) return controller.enqueue(value);
          onEnd();
          controller.close();
        } catch (error) {
          onEnd();
          controller.error(error);
        }
      },
      async cancel() {
        onEnd();
        await pieces.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}
