import { SseDecoder } from '@longshore/core';

/** All events of a finished stream; comments are left out. */
export async function readSse(response: Response): Promise<{ event?: string; data: string }[]> {
  return new SseDecoder().push(await response.text());
}

/** The JSON objects of a finished OpenAI stream, which has to end with [DONE]. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into any shape.
export async function readChunks(response: Response): Promise<any[]> {
  const events = await readSse(response);
  const last = events.pop();
  if (last?.data !== '[DONE]') throw new Error(`the stream ends with ${last?.data}`);
  return events.map(({ data }) => JSON.parse(data));
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into any shape.
export const jsonOf = (response: Response): Promise<any> => response.json();

/** Polls until `probe` is true. Throws after `milliseconds`. */
export async function eventually(
  what: string,
  probe: () => boolean | Promise<boolean>,
  milliseconds = 3000,
): Promise<void> {
  const until = Date.now() + milliseconds;
  while (!(await probe())) {
    if (Date.now() > until) throw new Error(`not within ${milliseconds} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
