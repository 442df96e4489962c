import type { HeadPolicy } from '@longshore/core';
import { policyName } from './candidates.ts';
import { bestAtCost, COSTS } from './choose.ts';
import type { HeadReport } from './head-measures.ts';
import { heatMap } from './heat-map.ts';
import type { SearchOptions, SearchResult } from './search.ts';

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Files of the report by name: Markdown, and heat maps by layer and head as SVG. */
export function searchReport(
  model: string,
  tokens: number,
  options: SearchOptions,
  result: SearchResult,
): Map<string, string> {
  const { candidates, limits } = options;
  const dense = candidates.findIndex(({ type }) => type === 'dense');
  const heads = result.reports
    .flatMap((row, layer) => row.map((reports, head) => ({ reports, chosen: result.chosen[layer]![head] })))
    .filter((one): one is { reports: HeadReport[]; chosen: number } => one.chosen !== undefined);
  const lines = [
    `# Patterns of ${model}`,
    '',
    `Made by \`longshore patterns search\` on ${tokens} tokens; every ${options.every} query blocks beyond ${options.minTokens} tokens were measured, each head with its real queries and keys.`,
    `A head takes the cheapest candidate (thread time on this machine) whose output differs from dense attention's by at most ${percent(limits.error)} and that keeps at least ${percent(limits.recall)} of the mass; dense where none does.`,
    '',
    `The policy reads ${percent(result.density)} of the entries in ${percent(result.time)} of dense attention's time, block means apart.`,
    '',
    '## What heads took',
    '',
    '| candidate | heads | mass kept | output error | density | time of dense |',
    '| --- | --- | --- | --- | --- | --- |',
    ...candidates.flatMap((policy, index) => rowOf(policy, index, heads, dense)),
    '',
    '## All heads under one candidate',
    '',
    '| candidate | mass kept | output error | density | time of dense |',
    '| --- | --- | --- | --- | --- |',
    ...candidates.map((policy, index) => {
      const all = heads.map(({ reports }) => reports[index]!);
      return `| ${policyName(policy)} | ${percent(mean(all.map((one) => one.recall)))} | ${percent(mean(all.map((one) => one.error)))} | ${percent(mean(all.map((one) => one.density)))} | ${percent(mean(heads.map(({ reports }) => reports[index]!.ns / reports[dense]!.ns)))} |`;
    }),
    '',
    '## At equal measured cost',
    '',
    'The best candidate of each head that costs at most so much of dense: how many heads prefer each kind, and what they keep.',
    '',
    '| cost | kinds | mass kept | output error |',
    '| --- | --- | --- | --- |',
    ...COSTS.map((cost) => costRow(cost, candidates, heads, dense)),
    '',
    '![chosen: mass kept](mass.svg)',
    '![chosen: density](density.svg)',
    '![mass outside sink and window](distant.svg)',
    '',
  ];
  const grid = (of: (report: HeadReport[], chosen: number) => number) =>
    result.reports.map((row, layer) =>
      row.map((reports, head) => {
        const chosen = result.chosen[layer]![head];
        return chosen === undefined ? null : of(reports, chosen);
      }),
    );
  const window = candidates.findIndex(({ type }) => type === 'a_shape');
  const axes = { x: 'query head', y: 'layer' };
  const files = new Map([
    ['report.md', lines.join('\n')],
    ['mass.svg', heatMap({ ...axes, title: 'Mass kept by what each head took', rows: grid((r, c) => r[c]!.recall) })],
    ['density.svg', heatMap({ ...axes, title: 'Density of what each head took', rows: grid((r, c) => r[c]!.density) })],
  ]);
  if (window >= 0)
    files.set(
      'distant.svg',
      heatMap({
        ...axes,
        title: `Mass outside ${policyName(candidates[window]!)}`,
        rows: grid((r) => 1 - r[window]!.recall),
      }),
    );
  return files;
}

type Head = { reports: HeadReport[]; chosen: number };

function rowOf(policy: HeadPolicy, index: number, heads: readonly Head[], dense: number): string[] {
  const taken = heads.filter(({ chosen }) => chosen === index);
  if (taken.length === 0) return [];
  const all = taken.map(({ reports }) => reports[index]!);
  const time = mean(taken.map(({ reports }) => reports[index]!.ns / reports[dense]!.ns));
  return [
    `| ${policyName(policy)} | ${taken.length} | ${percent(mean(all.map((one) => one.recall)))} | ${percent(mean(all.map((one) => one.error)))} | ${percent(mean(all.map((one) => one.density)))} | ${percent(time)} |`,
  ];
}

function costRow(cost: number, candidates: readonly HeadPolicy[], heads: readonly Head[], dense: number): string {
  const kinds = new Map<string, number>();
  const best: HeadReport[] = [];
  for (const { reports } of heads) {
    const index = bestAtCost(reports, dense, cost);
    if (index === undefined) continue;
    const kind = candidates[index]!.type;
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    best.push(reports[index]!);
  }
  const names = [...kinds].sort((a, b) => b[1] - a[1]).map(([kind, count]) => `${kind} ${count}`);
  if (best.length === 0) return `| ${percent(cost)} | none | - | - |`;
  return `| ${percent(cost)} | ${names.join(', ')} | ${percent(mean(best.map((one) => one.recall)))} | ${percent(mean(best.map((one) => one.error)))} |`;
}
