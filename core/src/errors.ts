/** Every failure the platform reports on purpose. `code` is stable; `status` is the HTTP status the edge answers with. */
export type ErrorCode =
  | 'invalid_request'
  | 'malformed_json'
  | 'body_too_large'
  | 'context_length_exceeded'
  | 'invalid_api_key'
  | 'insufficient_scope'
  | 'model_not_found'
  | 'not_found'
  | 'conflict'
  | 'rate_limited'
  | 'overloaded'
  | 'draining'
  | 'no_worker_available'
  | 'database_unavailable'
  | 'store_unavailable'
  | 'worker_failed'
  | 'cancelled'
  | 'timeout'
  | 'internal';

export const ERROR_STATUS: Record<ErrorCode, number> = {
  invalid_request: 400,
  malformed_json: 400,
  body_too_large: 413,
  context_length_exceeded: 400,
  invalid_api_key: 401,
  insufficient_scope: 403,
  model_not_found: 404,
  not_found: 404,
  conflict: 409,
  rate_limited: 429,
  overloaded: 429,
  draining: 503,
  no_worker_available: 503,
  database_unavailable: 503,
  store_unavailable: 503,
  worker_failed: 502,
  cancelled: 499,
  timeout: 504,
  internal: 500,
};

export interface ErrorDetails {
  /** Request field at fault, in the API's own spelling ("messages", "max_tokens"). */
  param?: string;
  /** Seconds after which a retry makes sense. */
  retryAfterSeconds?: number;
  cause?: unknown;
}

/** A typed error for the world (bugs are assertions). The message says what to do about it. */
export class LongshoreError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly param: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'LongshoreError';
    this.code = code;
    this.status = ERROR_STATUS[code];
    this.param = details.param;
    this.retryAfterSeconds = details.retryAfterSeconds;
  }
}

/** What crosses the wire between worker and edge. */
export interface WireError {
  code: ErrorCode;
  message: string;
  param?: string;
  retryAfterSeconds?: number;
}

export function toWireError(error: unknown): WireError {
  if (!(error instanceof LongshoreError)) return { code: 'internal', message: 'Internal error; see the server log.' };
  const { code, message, param, retryAfterSeconds } = error;
  return {
    code,
    message,
    ...(param === undefined ? {} : { param }),
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  };
}

export function fromWireError(wire: WireError): LongshoreError {
  const code: ErrorCode = wire.code in ERROR_STATUS ? wire.code : 'internal';
  return new LongshoreError(code, wire.message, { param: wire.param, retryAfterSeconds: wire.retryAfterSeconds });
}
