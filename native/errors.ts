export type EngineErrorCode =
  | 'invalid_argument'
  | 'not_found'
  | 'corrupt'
  | 'unsupported'
  | 'out_of_memory'
  | 'cancelled'
  | 'closed'
  | 'internal';

/** Every rejection of this package is one of these. */
export class EngineError extends Error {
  readonly code: EngineErrorCode;
  constructor(code: EngineErrorCode, message: string) {
    super(message);
    this.name = 'EngineError';
    this.code = code;
  }
}
