import { encodeSse, type GenerateEvent, LongshoreError, toWireError } from '@longshore/core';

/** A client that reads nothing while this much waits for it is cut off. */
const MAX_QUEUED_CHARACTERS = 8 * 1024 * 1024;
const KEEP_ALIVE_MS = 10_000;

/**
 * Events of one request as server-sent events. What the client has not read yet waits here, bounded; comments keep idle
 * connections open; a client that goes away, or reads too slowly, is reported once through `onGone`.
 */
export class EventStream {
  /** Resolves at the first event: only then does the response begin, so that earlier faults can still be a status. */
  readonly opened: Promise<void>;
  private readonly open: () => void;
  private readonly onGone: (reason: LongshoreError) => void;
  private queue: string[] = [];
  private queuedCharacters = 0;
  private ended = false;
  private isOpen = false;
  private demand: (() => void) | undefined;
  private keepAlive: NodeJS.Timeout | undefined;

  constructor(onGone: (reason: LongshoreError) => void) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.opened = promise;
    this.open = resolve;
    this.onGone = onGone;
  }

  get begun(): boolean {
    return this.isOpen;
  }

  emit(event: GenerateEvent): void {
    if (this.ended) return;
    if (!this.isOpen) {
      this.isOpen = true;
      this.keepAlive = setInterval(() => this.write(': keep-alive\n\n'), KEEP_ALIVE_MS).unref();
      this.open();
    }
    this.write(encodeSse({ data: JSON.stringify(event) }));
  }

  /** The last word: an error event when the stream has begun, nothing otherwise. */
  fail(error: unknown): void {
    if (this.isOpen) this.emit({ type: 'error', error: toWireError(error) });
    this.end();
  }

  end(): void {
    this.ended = true;
    clearInterval(this.keepAlive);
    this.demand?.();
  }

  private write(text: string): void {
    this.queue.push(text);
    this.queuedCharacters += text.length;
    if (this.queuedCharacters > MAX_QUEUED_CHARACTERS) {
      this.queue = [];
      this.queuedCharacters = 0;
      this.onGone(new LongshoreError('cancelled', 'The client reads too slowly.'));
      this.end();
      return;
    }
    this.demand?.();
  }

  response(): Response {
    const encoder = new TextEncoder();
    const body = new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        if (this.queue.length === 0 && !this.ended) {
          await new Promise<void>((resolve) => {
            this.demand = resolve;
          });
          this.demand = undefined;
        }
        if (this.queue.length > 0) {
          controller.enqueue(encoder.encode(this.queue.join('')));
          this.queue = [];
          this.queuedCharacters = 0;
        } else if (this.ended) controller.close();
      },
      cancel: () => {
        this.onGone(new LongshoreError('cancelled', 'The client went away.'));
        this.end();
      },
    });
    return new Response(body, {
      headers: { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store' },
    });
  }
}
