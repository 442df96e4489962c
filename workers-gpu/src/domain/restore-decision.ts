export interface RestoreEstimates {
  /** Loading the stored blocks, in milliseconds. */
  loadMs: number;
  /** Computing the same tokens instead. */
  recomputeMs: number;
}

/** Whether stored blocks are worth loading: when that is estimated to be no slower than computing them. */
export function shouldRestore(estimates: RestoreEstimates): boolean {
  return estimates.loadMs <= estimates.recomputeMs;
}
