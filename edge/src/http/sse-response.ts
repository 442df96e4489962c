import { within } from './within.ts';

/** A reader who left is only noticed by writing: something is written at least this often. */
const KEEP_ALIVE_MS = 250;
const KEEP_ALIVE = ': keep-alive\n\n';

/**
 * Streams text/event-stream pieces as the reader takes them. `onCancel` runs when the reader leaves before the end. `pieces` may
 * not throw: errors are events of the dialect by then.
 */
export function sseResponse(pieces: AsyncGenerator<string>, onCancel: () => void): Response {
  const encoder = new TextEncoder();
  let next: Promise<IteratorResult<string>> | undefined;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      next ??= pieces.next();
      const piece = await within(next, KEEP_ALIVE_MS);
      if (piece === undefined) return controller.enqueue(encoder.encode(KEEP_ALIVE));
      next = undefined;
      if (piece.done) controller.close();
      else controller.enqueue(encoder.encode(piece.value));
    },
    cancel() {
      onCancel();
      pieces.return(undefined).catch(() => {});
    },
  });
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    },
  });
}
