import type { Context } from 'hono';
import { requireModel, requireScope } from '../../auth/domain/access.ts';
import type { EdgeEnvironment } from '../../environment.ts';
import { Run } from '../../generation/run.ts';
import { readJson } from '../../http/json-body.ts';
import { randomId } from '../../http/random-id.ts';
import { answer } from '../answers.ts';
import { completionFormat } from '../domain/completion-format.ts';
import { generateRequest } from '../generate-request.ts';
import { parseCompletion } from '../requests/completion.ts';

/** POST /v1/completions. Choices are ordered by prompt, then by n, as OpenAI orders them. */
export async function completions(c: Context<EdgeEnvironment>): Promise<Response> {
  const { apiKey, scope } = c.var;
  requireScope(apiKey, 'inference');
  const request = parseCompletion(await readJson(c.req.raw));
  const { model, prompts, n, echo, delivery } = request;
  requireModel(apiKey, model);

  const run = new Run({
    scope,
    apiKey,
    endpoint: '/v1/completions',
    model,
    promptParam: 'prompt',
    clientSignal: c.req.raw.signal,
  });
  const { organizationId } = apiKey;
  const relays = Array.from({ length: prompts.length * n }, (_, index) => {
    const promptIndex = Math.floor(index / n);
    const choice = index % n;
    const identity = { requestId: scope.requestId, organizationId, model, deadline: run.deadline, index, choice };
    return run.sequence(
      { path: '/generate', body: generateRequest(prompts[promptIndex]!, request, identity) },
      { promptIndex },
    );
  });
  const format = completionFormat({
    id: randomId('textCompletion'),
    model,
    created: Math.floor(scope.startedAt / 1000),
    logprobs: request.sampling.logprobs,
    tokenIds: delivery.tokenIds,
    prefixOf: (index) => {
      const prompt = prompts[Math.floor(index / n)]!;
      return echo && prompt.kind === 'text' ? prompt.text : '';
    },
  });
  return answer({ run, relays, format, delivery });
}
