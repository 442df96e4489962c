/** What of ModelInfo.policyJson (CanonicalJson in native/engine/policy) says which kind of head policy a head has. */
interface Canonical {
  prefill: 'dense' | 'sparse';
  policies?: Array<{ type: string }>;
  heads?: number[][];
}

export function headTypes(policyJson: string): (layer: number, head: number) => string {
  const { prefill, policies = [], heads } = JSON.parse(policyJson) as Canonical;
  return (layer, head) => (prefill === 'dense' ? 'dense' : (policies[heads?.[layer]?.[head] ?? 0]?.type ?? 'dense'));
}
