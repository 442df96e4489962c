import type { PromptInput } from '@longshore/core';
import { z } from 'zod';
import { validate } from '../../http/validate.ts';
import {
  type AnswerOptions,
  chatAnswerOptions,
  chatFields,
  type Delivery,
  deliveryOf,
} from '../../openai/requests/chat.ts';
import { withoutUnsupported } from '../../openai/requests/unsupported.ts';
import { inputFields, inputOf } from './create-session.ts';

/** A turn takes what a chat completion takes, less the model and n: the session has one model and goes on in one way. */
const turnSchema = z.strictObject({
  ...chatFields,
  ...inputFields,
  n: z.literal(1, 'must be 1: a session goes on in one way').nullish(),
});

export interface TurnRequest extends AnswerOptions {
  input: PromptInput;
  delivery: Delivery;
}

/** Throws `invalid_request` that names the field. */
export function parseTurn(json: unknown): TurnRequest {
  const body = validate(turnSchema, withoutUnsupported(json));
  return { ...chatAnswerOptions(body), input: inputOf(body), delivery: deliveryOf(body) };
}
