import { SseDecoder } from '@longshore/core';

/** The `longshore` block of an answer, as far as the demo reads it. */
interface Report {
  worker_id: string;
  cache: {
    tier: string;
    bytes: number;
    load_ms: number;
    blocks_hit: number;
    blocks_total: number;
    decision: string;
    miss_reason: string | null;
  };
  timings: { ttft_ms: number; restore_ms: number; prefill_ms: number };
}

export interface Answer {
  text: string;
  tokenIds: number[];
  /** Milliseconds from sending the request to the first token, seen from here. */
  ttftMs: number;
  promptTokens: number;
  cachedTokens: number;
  report: Report;
}

export interface Session {
  id: string;
  workerId: string;
  tokenCount: number;
  /** Milliseconds until the session was ready: prefilled and stored. */
  readyMs: number;
}

export interface Message {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

/** Greedy, so that two runs can be compared token by token. */
const GREEDY = { temperature: 0, stream: true, stream_options: { include_usage: true }, return_token_ids: true };

/** One key's view of the API. */
export class DemoClient {
  private readonly baseUrl: string;
  private readonly apiKey: string;
  private readonly model: string;

  constructor(baseUrl: string, apiKey: string, model: string) {
    this.baseUrl = baseUrl;
    this.apiKey = apiKey;
    this.model = model;
  }

  private async *events(path: string, body: object): AsyncGenerator<{ event?: string; data: string }> {
    const response = await fetch(`${this.baseUrl}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${this.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
    const decoder = new SseDecoder();
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) yield* decoder.push(chunk);
  }

  /** Prefills once; `onProgress` sees the tokens done and their total. */
  async createSession(messages: Message[], onProgress: (done: number, total: number) => void): Promise<Session> {
    const started = performance.now();
    const body = { model: this.model, messages, label: 'demo', stream: true };
    for await (const { data } of this.events('/sessions', body)) {
      const event = JSON.parse(data);
      if (event.type === 'session.progress') onProgress(event.done, event.total);
      if (event.error) throw new Error(event.error.message);
      if (event.type !== 'session.ready') continue;
      const { id, worker_id: workerId, token_count: tokenCount } = event.session;
      return { id, workerId, tokenCount, readyMs: performance.now() - started };
    }
    throw new Error('the stream ended before the session was ready');
  }

  turn(session: Session, question: string, maxTokens: number): Promise<Answer> {
    return this.ask(`/sessions/${session.id}/turns`, {
      messages: [{ role: 'user', content: question }],
      max_tokens: maxTokens,
      ...GREEDY,
    });
  }

  chat(messages: Message[], maxTokens: number, cache: { read: boolean; write: boolean }): Promise<Answer> {
    return this.ask('/chat/completions', { model: this.model, messages, max_tokens: maxTokens, cache, ...GREEDY });
  }

  private async ask(path: string, body: object): Promise<Answer> {
    const started = performance.now();
    const answer: Partial<Answer> & { text: string; tokenIds: number[] } = { text: '', tokenIds: [] };
    for await (const { data } of this.events(path, body)) {
      if (data === '[DONE]') break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      const [choice] = chunk.choices;
      if (choice?.token_ids?.length > 0) answer.ttftMs ??= performance.now() - started;
      answer.tokenIds.push(...(choice?.token_ids ?? []));
      answer.text += choice?.delta?.content ?? '';
      if (chunk.longshore) answer.report = chunk.longshore;
      if (chunk.usage) {
        answer.promptTokens = chunk.usage.prompt_tokens;
        answer.cachedTokens = chunk.usage.prompt_tokens_details.cached_tokens;
      }
    }
    if (answer.ttftMs === undefined || !answer.report) throw new Error(`${path} ended without an answer`);
    return answer as Answer;
  }
}
