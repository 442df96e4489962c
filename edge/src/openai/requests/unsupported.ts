import { LongshoreError } from '@longshore/core';

/** Values that ask for nothing: a client that always sends the field is served. */
const NEUTRAL: Record<string, (value: unknown) => boolean> = {
  tools: (value) => Array.isArray(value) && value.length === 0,
  tool_choice: (value) => value === 'none' || value === 'auto',
  parallel_tool_calls: () => true,
  functions: (value) => Array.isArray(value) && value.length === 0,
  function_call: (value) => value === 'none' || value === 'auto',
  response_format: (value) => typeof value === 'object' && (value as { type?: unknown }).type === 'text',
  modalities: (value) => Array.isArray(value) && value.every((entry) => entry === 'text'),
  store: (value) => value === false,
  best_of: (value) => value === 1,
  suffix: (value) => value === '',
  audio: () => false,
  prediction: () => false,
  web_search_options: () => false,
  reasoning_effort: (value) => value === 'none',
  verbosity: (value) => value === 'medium',
};

/**
 * Returns the body without the fields that OpenAI knows and Longshore does not yet, or throws `invalid_request` naming the first
 * one that asks for something: doing less than asked in silence would be worse.
 */
export function withoutUnsupported(body: unknown): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return body;
  const rest: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(body)) {
    const isNeutral = Object.hasOwn(NEUTRAL, field) ? NEUTRAL[field] : undefined;
    if (isNeutral === undefined) rest[field] = value;
    else if (value !== null && !isNeutral(value))
      throw new LongshoreError('invalid_request', `${field} is not supported yet. Leave it out.`, { param: field });
  }
  return rest;
}
