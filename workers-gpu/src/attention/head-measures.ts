import type { AttentionMeasures } from '@longshore/native';

const FIELDS = 9;

/** What one policy did to one query head, over the rows that were measured. */
export interface HeadReport {
  /** Rows (queries) measured; 0 in sliding layers, which no policy touches. */
  rows: number;
  /** Mean share of a row's attention mass that was read, and the share of rows that keep less than 0.9. */
  recall: number;
  low: number;
  /** |output - dense output| / |dense output|, over all rows. */
  error: number;
  /** Score entries computed with their values, and scored without, as shares of dense attention's. */
  density: number;
  scanned: number;
  /** Thread time of choosing and attending. */
  ns: number;
}

/** Sums of HeadReport's quantities that steps add to. */
export class HeadMeasures {
  readonly policies: number;
  readonly layers: number;
  readonly heads: number;
  private readonly sums: Float64Array;

  constructor(policies: number, layers: number, heads: number) {
    this.policies = policies;
    this.layers = layers;
    this.heads = heads;
    this.sums = new Float64Array(policies * layers * heads * FIELDS);
  }

  add(step: AttentionMeasures): void {
    for (const [index, value] of step.sums.entries()) this.sums[index]! += value;
  }

  at(policy: number, layer: number, head: number): HeadReport {
    const from = ((policy * this.layers + layer) * this.heads + head) * FIELDS;
    const [rows, mass, low, error, norm, causal, computed, scanned, ns] = this.sums.subarray(from, from + FIELDS);
    const share = (part: number, whole: number) => (whole > 0 ? part / whole : 0);
    return {
      rows: rows!,
      recall: share(mass!, rows!),
      low: share(low!, rows!),
      error: Math.sqrt(share(error!, norm!)),
      density: share(computed!, causal!),
      scanned: share(scanned!, causal!),
      ns: ns!,
    };
  }

  /** Of one policy, by layer and head. */
  grid(policy: number): HeadReport[][] {
    return Array.from({ length: this.layers }, (_, layer) =>
      Array.from({ length: this.heads }, (_, head) => this.at(policy, layer, head)),
    );
  }
}
