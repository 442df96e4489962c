import type { CellLine } from '../cell.ts';

const percent = (share: number | null): string => (share === null ? '-' : `${(100 * share).toFixed(1)} %`);
const seconds = (ms: number): string => (ms / 1000).toFixed(ms < 10_000 ? 2 : 1);

export function table(head: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Values in the order of their first appearance. */
export const distinct = <T>(values: readonly T[]): T[] => [...new Set(values)];

/** One row per task and length, one column per policy: accuracy, and in brackets the share kept of what dense attention answers. */
export function accuracyTable(cells: readonly CellLine[]): string {
  const policies = distinct(cells.map((cell) => cell.policy));
  const keys = distinct(cells.map((cell) => `${cell.task} ${cell.n}`));
  const rows = keys.map((key) => {
    const here = cells.filter((cell) => `${cell.task} ${cell.n}` === key);
    const shown = policies.map((policy) => {
      const cell = here.find((one) => one.policy === policy);
      if (cell === undefined) return '';
      return policy === 'dense' ? percent(cell.accuracy) : `${percent(cell.accuracy)} (${percent(cell.kept)})`;
    });
    return [here[0]!.task, String(here[0]!.n), String(here[0]!.questions), ...shown];
  });
  return table(['task', 'tokens', 'questions', ...policies], rows);
}

export function costTable(cells: readonly CellLine[]): string {
  const rows = cells.map((cell) => [
    cell.task,
    String(cell.n),
    cell.policy,
    percent(cell.density),
    percent(cell.scanned),
    seconds(cell.prefill_ms / cell.contexts),
  ]);
  return table(['task', 'tokens', 'policy', 'density', 'scanned', 'prefill of a context, s'], rows);
}

/** Accuracy per fifth of the context, or per turn. */
export function shareTable(cells: readonly CellLine[], of: 'by_depth' | 'by_turn'): string {
  const places = distinct(cells.flatMap((cell) => cell[of].map(({ at }) => at))).sort((a, b) => Number(a) - Number(b));
  const rows = cells.map((cell) => [
    cell.task,
    String(cell.n),
    cell.policy,
    ...places.map((place) => {
      const share = cell[of].find(({ at }) => at === place);
      return share === undefined ? '' : `${((100 * share.correct) / share.questions).toFixed(0)}`;
    }),
  ]);
  const head = places.map((place) => (of === 'by_turn' ? `turn ${place}` : `from ${place}`));
  return table(['task', 'tokens', 'policy', ...head], rows);
}
