import type { GenerateEvent } from '@longshore/core';
import { merge } from '../generation/merge.ts';
import type { Relay } from '../generation/relay.ts';
import type { Run } from '../generation/run.ts';
import { errorBody } from '../http/error-response.ts';
import { patientJson } from '../http/patient-json.ts';
import { sseResponse } from '../http/sse-response.ts';
import type { AnswerFormat } from './domain/answer-format.ts';
import { longshoreReport, openaiUsage, type TokenEvent } from './domain/report.ts';
import type { Delivery } from './requests/chat.ts';

/** Sequences of one request that run at once; with the database a Worker request may wait on six connections. */
const PARALLEL_SEQUENCES = 4;

export interface AnswerParts {
  run: Run;
  /** One per choice, in order. */
  relays: readonly Relay[];
  format: AnswerFormat;
  delivery: Delivery;
}

type Indexed = { index: number; item: GenerateEvent };

const reportOf = (relay: Relay) => longshoreReport(relay.requestId, relay.losses, relay.done!);

const data = (value: unknown): string => `data: ${JSON.stringify(value)}\n\n`;

function eventsOf({ relays }: AnswerParts): AsyncGenerator<Indexed> {
  return merge(
    relays.map((relay) => () => relay.events()),
    PARALLEL_SEQUENCES,
  );
}

/** Answers as the client asked for them. Throws LongshoreError for everything that goes wrong before the first event. */
export function answer(parts: AnswerParts): Promise<Response> {
  return parts.delivery.stream ? streamed(parts) : patientJson(whole(parts), () => parts.run.cancel());
}

async function streamed(parts: AnswerParts): Promise<Response> {
  const { run } = parts;
  try {
    const events = eventsOf(parts);
    const first = await events.next();
    return sseResponse(chunks(parts, first, events), () => run.cancel());
  } catch (error) {
    throw run.fail(error);
  }
}

async function* chunks(
  parts: AnswerParts,
  first: IteratorResult<Indexed>,
  events: AsyncGenerator<Indexed>,
): AsyncGenerator<string> {
  const { run, format, delivery } = parts;
  try {
    const opened = new Set<number>();
    for (let next = first; !next.done; next = await events.next()) yield* piecesOf(parts, opened, next.value);
    run.finish();
    if (delivery.includeUsage)
      yield data({ ...format.envelope(false), choices: [], usage: openaiUsage(run.usage(), run.cache()) });
    yield 'data: [DONE]\n\n';
  } catch (error) {
    yield data(errorBody(run.fail(error)));
  } finally {
    events.return(undefined).catch(() => {});
  }
}

function* piecesOf(parts: AnswerParts, opened: Set<number>, { index, item }: Indexed): Generator<string> {
  const { run, relays, format, delivery } = parts;
  const chunk = (choice: Record<string, unknown>, more: Record<string, unknown> = {}): string =>
    data({ ...format.envelope(false), choices: [choice], ...(delivery.includeUsage ? { usage: null } : {}), ...more });
  if (item.type === 'progress') yield `: ${item.phase} ${item.done}/${item.total}\n\n`;
  if (item.type !== 'token' && item.type !== 'done') return;
  if (!opened.has(index) && format.opening) yield chunk(format.opening(index));
  opened.add(index);
  if (item.type === 'done') return yield chunk(format.closing(index, item), { longshore: reportOf(relays[index]!) });
  run.markFirstToken();
  if (item.text !== '' || item.logprob !== undefined || delivery.tokenIds) yield chunk(format.token(index, item));
}

async function whole(parts: AnswerParts): Promise<Record<string, unknown>> {
  const { run, relays, format } = parts;
  const tokens: TokenEvent[][] = relays.map(() => []);
  try {
    for await (const { index, item } of eventsOf(parts)) {
      if (item.type !== 'token') continue;
      run.markFirstToken();
      tokens[index]!.push(item);
    }
    run.finish();
  } catch (error) {
    throw run.fail(error);
  }
  return {
    ...format.envelope(true),
    choices: relays.map((relay, index) => format.choice(index, tokens[index]!, relay.done!)),
    usage: openaiUsage(run.usage(), run.cache()),
    longshore: reportOf(relays[0]!),
  };
}
