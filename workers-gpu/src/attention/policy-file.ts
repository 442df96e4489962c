import { type AttentionPolicy, attentionPolicySchema, type HeadPolicy } from '@longshore/core';
import type { ModelInfo } from '@longshore/native';

type Shape = NonNullable<AttentionPolicy['shape']>;

const key = (policy: HeadPolicy): string => JSON.stringify(policy);

function mostOf(policies: readonly HeadPolicy[]): HeadPolicy {
  const counts = new Map<string, number>();
  for (const policy of policies) counts.set(key(policy), (counts.get(key(policy)) ?? 0) + 1);
  const [most] = [...counts].sort((a, b) => b[1] - a[1])[0]!;
  return policies.find((policy) => key(policy) === most)!;
}

/** The policy file that gives each layer and head its own; what most heads (of a layer) have is written once. */
export function policyFile(
  info: ModelInfo,
  minTokens: number,
  table: readonly (readonly HeadPolicy[])[],
): AttentionPolicy {
  const shape: Shape = {
    layers: info.layers,
    hidden: info.hidden,
    heads: info.heads,
    kv_heads: info.kvHeads,
    head_dim: info.headDim,
    vocab: info.vocab,
  };
  const common = mostOf(table.flat());
  const layers = table.flatMap((heads, layer) => {
    const most = mostOf(heads);
    const others = heads.flatMap((policy, head) =>
      key(policy) === key(most) ? [] : [[String(head), policy] as const],
    );
    if (key(most) === key(common) && others.length === 0) return [];
    return [
      {
        layer,
        ...(key(most) === key(common) ? {} : { default: most }),
        ...(others.length === 0 ? {} : { heads: Object.fromEntries(others) }),
      },
    ];
  });
  return attentionPolicySchema.parse({
    format: 'longshore-attention-policy',
    version: 1,
    model: info.name,
    shape,
    min_tokens: minTokens,
    default: common,
    ...(layers.length === 0 ? {} : { layers }),
  });
}
