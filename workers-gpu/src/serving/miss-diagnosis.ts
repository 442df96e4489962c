import type { CacheReport, MissReason } from '@longshore/core';
import type { Explanation, KvStore } from '../kv/index.ts';
import type { PrefixPlan } from './prefix-planner.ts';

/** The answer waits this long for its explanation, which has had the whole prefill's time. */
const PATIENCE_MS = 2000;
/** What the directory alone says; everything else is a reason already. */
const OPEN_REASONS: ReadonlySet<MissReason | undefined> = new Set<MissReason>(['never_seen', 'identity_changed']);

/** Starts to find out, beside the prefill, why the plan found less than it could have. Never rejects. */
export async function explainMiss(
  kv: KvStore,
  plan: PrefixPlan,
  tokens: readonly number[],
  formerNamespace: string | undefined,
): Promise<Explanation | undefined> {
  const { tenant, chain, publishedBlocks: index, reusableBlocks } = plan;
  if (tenant === undefined || plan.missReason !== 'never_seen' || index >= reusableBlocks) return undefined;
  const outcome = await kv.explain({
    tenant,
    hashes: chain.digestRange(0, index + 1),
    index,
    tokens,
    ...(formerNamespace === undefined ? {} : { formerNamespace: Buffer.from(formerNamespace, 'hex') }),
  });
  return outcome.ok ? outcome.value : undefined;
}

/** The report, with what the explanation adds where the report's own reason is the directory's "not here". */
export async function withExplanation(
  report: CacheReport,
  explained: Promise<Explanation | undefined>,
): Promise<CacheReport> {
  if (!OPEN_REASONS.has(report.missReason)) return report;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), PATIENCE_MS);
  });
  const explanation = await Promise.race([explained, late]).finally(() => clearTimeout(timer));
  if (explanation === undefined) return { ...report, divergenceIsExact: false };
  const { reason, firstDivergentToken, isExact } = explanation;
  if (reason !== 'never_seen') return { ...report, missReason: reason };
  return {
    ...report,
    missReason: reason,
    firstDivergentToken: Math.max(firstDivergentToken, report.firstDivergentToken ?? 0),
    ...(isExact ? {} : { divergenceIsExact: false }),
  };
}
