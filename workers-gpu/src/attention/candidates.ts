import type { HeadPolicy } from '@longshore/core';

/**
 * What the search tries for every head, beside dense. Each kind comes in several sizes, so that at any cost there is one of most
 * kinds to compare: the sizes are those of MInference's search and of docs/design/0017.
 */
export function candidatePolicies(): HeadPolicy[] {
  const list: HeadPolicy[] = [{ type: 'dense' }];
  for (const window of [512, 1024, 2048, 4096]) list.push({ type: 'a_shape', sink: 128, window });
  for (const [vertical, slash] of [
    [100, 800],
    [500, 700],
    [1000, 1024],
  ] as const)
    list.push({ type: 'vertical_slash', vertical, slash, shared: false });
  for (const blocks of [8, 16, 32]) list.push({ type: 'block_sparse', top_k: blocks, shared: false });
  for (const [alpha, tau] of [
    [0.02, 0.2],
    [0.01, 0.1],
    [0.005, 0.05],
    [0.002, 0.02],
    [0.001, 0.01],
  ] as const)
    for (const correction of [false, true])
      list.push({
        type: 'block_energy',
        alpha,
        sink: 128,
        window: 512,
        tau,
        mean_correction: correction,
        shared: false,
      });
  return list;
}

/** A word for tables: "block_energy 0.02 0.2 means". */
export function policyName(policy: HeadPolicy): string {
  switch (policy.type) {
    case 'dense':
      return 'dense';
    case 'a_shape':
      return `a_shape ${policy.sink} ${policy.window}`;
    case 'vertical_slash':
      return `vertical_slash ${policy.vertical} ${policy.slash}`;
    case 'block_sparse':
      return `block_sparse ${policy.top_k}`;
    case 'block_energy':
      return `block_energy ${policy.alpha} ${policy.tau}${policy.mean_correction ? ' means' : ''}`;
  }
}
