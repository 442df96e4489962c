import { LongshoreError } from '@longshore/core';
import type { Context } from 'hono';
import type { z } from 'zod';

const MAX_ISSUES = 3;

/** Parses and validates a JSON body. Throws malformed_json, or invalid_request naming the first wrong fields. */
export async function readBody<T>(context: Context, schema: z.ZodType<T>): Promise<T> {
  let body: unknown;
  const text = await context.req.text();
  try {
    body = JSON.parse(text);
  } catch (cause) {
    throw new LongshoreError('malformed_json', `The body is not JSON: ${(cause as Error).message}`, { cause });
  }
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issues = result.error.issues;
  const shown = issues.slice(0, MAX_ISSUES).map((issue) => `${issue.path.join('.') || 'body'}: ${issue.message}`);
  const more = issues.length > MAX_ISSUES ? ` (and ${issues.length - MAX_ISSUES} more)` : '';
  throw new LongshoreError('invalid_request', `${shown.join('; ')}${more}`, { param: issues[0]?.path.join('.') });
}
