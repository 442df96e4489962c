import type { PrefillRequest } from '@longshore/core';
import type { ApiKeyGrant } from '@longshore/db';
import type { Relay } from '../generation/relay.ts';
import type { Run } from '../generation/run.ts';
import { errorBody } from '../http/error-response.ts';
import { longshoreReport, openaiUsage } from '../openai/domain/report.ts';
import type { RequestScope } from '../request-scope.ts';
import { sessionObject } from './domain/session-object.ts';
import { requireSession } from './find.ts';

export interface CreationParts {
  scope: RequestScope;
  apiKey: ApiKeyGrant;
  run: Run;
  relay: Relay;
  sessionId: string;
}

export interface CreationPlan {
  requestId: string;
  sessionId: string;
  organizationId: string;
  deadline: number;
  request: Pick<PrefillRequest, 'model' | 'input' | 'cache'>;
}

export function prefillRequest({
  requestId,
  sessionId,
  organizationId,
  deadline,
  request,
}: CreationPlan): PrefillRequest {
  const { model, input, cache } = request;
  return { requestId, organizationId, model, input, cache, deadline, session: sessionId };
}

async function readyObject({ scope, apiKey, run, relay, sessionId }: CreationParts) {
  const session = await requireSession(scope, apiKey, sessionId);
  return {
    ...sessionObject(session),
    usage: openaiUsage(run.usage(), run.cache()),
    longshore: longshoreReport(relay.requestId, relay.losses, relay.done!),
  };
}

/** Prefills to the end and returns the ready session. Throws LongshoreError. */
export async function createWhole(parts: CreationParts): Promise<unknown> {
  const { run, relay } = parts;
  try {
    for await (const _ of relay.events());
    const ready = await readyObject(parts);
    run.finish();
    return ready;
  } catch (error) {
    throw run.fail(error);
  }
}

const event = (type: string, fields: Record<string, unknown>): string =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;

/** session.created, session.progress..., then session.ready or session.failed. */
export async function* createStreamed(parts: CreationParts, created: unknown): AsyncGenerator<string> {
  const { run, relay } = parts;
  try {
    yield event('session.created', { session: created });
    for await (const item of relay.events()) {
      if (item.type === 'accepted')
        yield event('session.accepted', { prompt_tokens: item.promptTokens, worker_id: item.workerId });
      if (item.type === 'progress')
        yield event('session.progress', { phase: item.phase, done: item.done, total: item.total });
    }
    yield event('session.ready', { session: await readyObject(parts) });
    run.finish();
  } catch (error) {
    yield event('session.failed', { ...errorBody(run.fail(error)) });
  }
}
