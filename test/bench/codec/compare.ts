/** One position's logits against the reference's. */
export interface Difference {
  /** KL(reference || other), nats. */
  kl: number;
  sameChoice: boolean;
}

function argmax(logits: Float32Array): number {
  let best = 0;
  for (let index = 1; index < logits.length; index++) if (logits[index]! > logits[best]!) best = index;
  return best;
}

function logSumExp(logits: Float32Array, most: number): number {
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - most);
  return most + Math.log(sum);
}

function compareRow(reference: Float32Array, other: Float32Array): Difference {
  const [best, otherBest] = [argmax(reference), argmax(other)];
  const [norm, otherNorm] = [logSumExp(reference, reference[best]!), logSumExp(other, other[otherBest]!)];
  let kl = 0;
  for (let index = 0; index < reference.length; index++) {
    const log = reference[index]! - norm;
    kl += Math.exp(log) * (log - (other[index]! - otherNorm));
  }
  return { kl, sameChoice: best === otherBest };
}

/** Row by row; both [positions, vocab]. */
export function compareLogits(reference: Float32Array, other: Float32Array, vocab: number): Difference[] {
  return Array.from({ length: reference.length / vocab }, (_, row) =>
    compareRow(reference.subarray(row * vocab, (row + 1) * vocab), other.subarray(row * vocab, (row + 1) * vocab)),
  );
}

export function bitEqual(a: Float32Array, b: Float32Array): boolean {
  return Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
