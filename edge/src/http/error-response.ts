import { LongshoreError } from '@longshore/core';

/** OpenAI's error shape. `code` is one of core's stable codes. */
export interface ErrorBody {
  error: { message: string; type: string; param: string | null; code: string };
}

function typeOf(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 429) return 'rate_limit_error';
  return status < 500 ? 'invalid_request_error' : 'server_error';
}

const DEFAULT_RETRY_SECONDS = 1;

export function asLongshoreError(error: unknown): LongshoreError {
  if (error instanceof LongshoreError) return error;
  return new LongshoreError('internal', 'Internal error; see the server log.', { cause: error });
}

export function errorBody(error: LongshoreError): ErrorBody {
  const { message, code, status, param } = error;
  return { error: { message, type: typeOf(status), param: param ?? null, code } };
}

/** Retry-After stands on every 429 and 503. */
export function errorResponse(error: LongshoreError): Response {
  const headers = new Headers();
  if (error.status === 429 || error.status === 503)
    headers.set('retry-after', String(Math.max(1, Math.ceil(error.retryAfterSeconds ?? DEFAULT_RETRY_SECONDS))));
  if (error.status === 401) headers.set('www-authenticate', 'Bearer');
  return Response.json(errorBody(error), { status: error.status, headers });
}
