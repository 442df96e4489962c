import { randomUUID } from 'node:crypto';
import { type GenerateEvent, SseDecoder } from '@longshore/core';
import type { TestPlatform } from '../../harness/platform.ts';

/** What one request saw. Times in milliseconds from the moment it was sent. */
export interface Seen {
  workerId: string;
  ttftMs: number;
  totalMs: number;
  promptTokens: number;
  cachedTokens: number;
  /** Progress events before the first token. */
  progressEvents: number;
  tokens: number[];
}

/** Sends a greedy chat request straight to one worker, as the edge would, and reads it to its end. Rejects with what the worker said. */
export async function ask(
  platform: TestPlatform,
  workerId: string,
  content: string,
  question: string,
  maxTokens: number,
  cache = { read: true, write: true },
): Promise<Seen> {
  const worker = platform.workers.find((one) => one.id === workerId)!;
  const startedAt = performance.now();
  const response = await fetch(`${worker.url}/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${platform.poolToken}` },
    body: JSON.stringify({
      requestId: randomUUID(),
      organizationId: platform.access.organizationId,
      model: platform.model.name,
      input: {
        kind: 'messages',
        messages: [
          { role: 'system', content },
          { role: 'user', content: question },
        ],
      },
      sampling: { temperature: 0 },
      ignoreEos: true,
      maxTokens,
      cache,
    }),
  });
  if (!response.ok) throw new Error(`${workerId} answers ${response.status}: ${await response.text()}`);
  const seen: Seen = {
    workerId,
    ttftMs: Number.NaN,
    totalMs: 0,
    promptTokens: 0,
    cachedTokens: 0,
    progressEvents: 0,
    tokens: [],
  };
  const decoder = new SseDecoder();
  for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
    for (const { data } of decoder.push(text))
      read(JSON.parse(data) as GenerateEvent, seen, performance.now() - startedAt);
  }
  seen.totalMs = performance.now() - startedAt;
  if (Number.isNaN(seen.ttftMs)) throw new Error(`${workerId} ended a stream without a token`);
  return seen;
}

function read(event: GenerateEvent, seen: Seen, elapsedMs: number): void {
  if (event.type === 'error') throw new Error(event.error.message);
  if (event.type === 'done') {
    seen.promptTokens = event.usage.promptTokens;
    seen.cachedTokens = event.usage.cachedTokens;
  }
  if (event.type === 'progress' && Number.isNaN(seen.ttftMs)) seen.progressEvents++;
  if (event.type !== 'token') return;
  if (Number.isNaN(seen.ttftMs)) seen.ttftMs = elapsedMs;
  seen.tokens.push(event.id);
}
