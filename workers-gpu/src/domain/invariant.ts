/** A broken invariant is a bug here, never the caller's input. */
class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

export function assertInvariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}
