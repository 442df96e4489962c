import { LongshoreError } from '@longshore/core';
import type { z } from 'zod';

/** messages[0].content: the API's own spelling of a path. */
function spell(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}

/** Parses or throws `invalid_request` that names the field. */
export function validate<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  if (issue.code === 'unrecognized_keys') {
    const param = spell([...issue.path, issue.keys[0]!]);
    throw new LongshoreError('invalid_request', `Unrecognized request argument: ${param}.`, { param });
  }
  const param = spell(issue.path);
  const message = issue.code === 'invalid_key' ? (issue.issues[0]?.message ?? issue.message) : issue.message;
  if (param === '') throw new LongshoreError('invalid_request', `The request body is wrong: ${message}.`);
  throw new LongshoreError('invalid_request', `${param}: ${message}.`, { param });
}
