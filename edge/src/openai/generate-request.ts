import type { GenerateRequest, PromptInput } from '@longshore/core';
import type { AnswerOptions } from './requests/chat.ts';
import { samplingOfChoice } from './requests/sampling.ts';

export interface SequenceIdentity {
  requestId: string;
  organizationId: string;
  model: string;
  deadline: number;
  /** Which of the request's sequences, counted from 0. */
  index: number;
  /** Which of the prompt's choices, counted from 0. */
  choice: number;
  session?: { id: string; version: number };
}

/** One sequence in the protocol's words. A request's only sequence carries the request's own id. */
export function generateRequest(
  input: PromptInput,
  options: AnswerOptions,
  identity: SequenceIdentity,
): GenerateRequest {
  const { requestId, organizationId, model, deadline, index, choice, session } = identity;
  return {
    requestId: index === 0 ? requestId : `${requestId}-${index}`,
    organizationId,
    model,
    input,
    deadline,
    cache: options.cache,
    sampling: samplingOfChoice(options.sampling, choice),
    stop: options.stop,
    ignoreEos: options.ignoreEos,
    ...(options.maxTokens === undefined ? {} : { maxTokens: options.maxTokens }),
    ...(session === undefined ? {} : { session: session.id, sessionVersion: session.version }),
  };
}
