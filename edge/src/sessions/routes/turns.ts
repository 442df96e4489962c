import type { Context } from 'hono';
import { requireModel, requireScope } from '../../auth/domain/access.ts';
import type { EdgeEnvironment } from '../../environment.ts';
import { Run, SESSION_CHARACTERS_PER_TOKEN } from '../../generation/run.ts';
import { readJson } from '../../http/json-body.ts';
import { randomId } from '../../http/random-id.ts';
import { answer } from '../../openai/answers.ts';
import { chatFormat } from '../../openai/domain/chat-format.ts';
import { generateRequest } from '../../openai/generate-request.ts';
import { requireSession } from '../find.ts';
import { requireReady } from '../ready.ts';
import { parseTurn } from '../requests/turn.ts';

/** POST /v1/sessions/:id/turns: resume with what is new, and answer as a chat completion does. */
export async function turns(c: Context<EdgeEnvironment>): Promise<Response> {
  const { apiKey, scope } = c.var;
  requireScope(apiKey, 'sessions');
  const request = parseTurn(await readJson(c.req.raw));
  const session = await requireSession(scope, apiKey, c.req.param('id') ?? '');
  const { id, model } = session;
  requireModel(apiKey, model);
  requireReady(session);

  const run = new Run({
    scope,
    apiKey,
    endpoint: '/v1/sessions/:id/turns',
    model,
    promptParam: request.input.kind === 'messages' ? 'messages' : 'input',
    clientSignal: c.req.raw.signal,
  });
  const { organizationId } = apiKey;
  const { requestId } = scope;
  const body = generateRequest(request.input, request, {
    requestId,
    organizationId,
    model,
    deadline: run.deadline,
    index: 0,
    choice: 0,
    session: { id, version: session.version },
  });
  const characters = SESSION_CHARACTERS_PER_TOKEN * session.tokenCount;
  const relay = run.sequence(
    { path: '/generate', body },
    { session: { holder: session.workerId ?? undefined, characters } },
  );
  const format = chatFormat({
    id: randomId('completion'),
    model,
    created: Math.floor(scope.startedAt / 1000),
    logprobs: request.sampling.logprobs,
    tokenIds: request.delivery.tokenIds,
    sessionId: id,
  });
  return answer({ run, relays: [relay], format, delivery: request.delivery });
}
