import { within } from './within.ts';

/** As long as this, an answer may still become any status. */
const PATIENCE_MS = 10_000;
const PADDING_MS = 500;
const PADDING = '\n';

/**
 * A JSON answer that may take minutes. After ten seconds the head is sent and the body begins with blank lines, which JSON allows:
 * that keeps the connection open through proxies and shows when the reader has left (`onCancel`). A failure after that point
 * breaks the connection off, so that half an answer is never taken for a whole one.
 */
export async function patientJson(
  answer: Promise<unknown>,
  onCancel: () => void,
  status = 200,
  patienceMs = PATIENCE_MS,
): Promise<Response> {
  answer.catch(() => {});
  const early = await within(
    answer.then((value) => ({ value })),
    patienceMs,
  );
  if (early !== undefined) return Response.json(early.value, { status });
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const ready = await within(
        answer.then((value) => ({ value })),
        PADDING_MS,
      );
      controller.enqueue(encoder.encode(ready === undefined ? PADDING : JSON.stringify(ready.value)));
      if (ready !== undefined) controller.close();
    },
    cancel: onCancel,
  });
  return new Response(body, { status, headers: { 'content-type': 'application/json' } });
}
