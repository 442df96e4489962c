import type { PromptInput } from '@longshore/core';
import type { Context } from 'hono';
import { requireModel, requireScope } from '../../auth/domain/access.ts';
import type { EdgeEnvironment } from '../../environment.ts';
import { Run } from '../../generation/run.ts';
import { readJson } from '../../http/json-body.ts';
import { randomId } from '../../http/random-id.ts';
import { answer } from '../answers.ts';
import { chatFormat } from '../domain/chat-format.ts';
import { generateRequest } from '../generate-request.ts';
import { parseChat } from '../requests/chat.ts';

/** POST /v1/chat/completions */
export async function chatCompletions(c: Context<EdgeEnvironment>): Promise<Response> {
  const { apiKey, scope } = c.var;
  requireScope(apiKey, 'inference');
  const request = parseChat(await readJson(c.req.raw));
  const { model, messages, n, delivery } = request;
  requireModel(apiKey, model);

  const run = new Run({
    scope,
    apiKey,
    endpoint: '/v1/chat/completions',
    model,
    promptParam: 'messages',
    clientSignal: c.req.raw.signal,
  });
  const { organizationId } = apiKey;
  const input: PromptInput = { kind: 'messages', messages };
  const relays = Array.from({ length: n }, (_, index) => {
    const identity = {
      requestId: scope.requestId,
      organizationId,
      model,
      deadline: run.deadline,
      index,
      choice: index,
    };
    const body = generateRequest(input, request, identity);
    return run.sequence({ path: '/generate', body });
  });
  const format = chatFormat({
    id: randomId('completion'),
    model,
    created: Math.floor(scope.startedAt / 1000),
    logprobs: request.sampling.logprobs,
    tokenIds: delivery.tokenIds,
  });
  return answer({ run, relays, format, delivery });
}
