/** Grids of shares as SVG. No dependency, the same bytes for the same data. */

export interface HeatMap {
  title: string;
  x: string;
  y: string;
  /** By row, then column; in 0..1. null: no cell. */
  rows: ReadonlyArray<ReadonlyArray<number | null>>;
  /** Cells with a frame. */
  marked?: (row: number, column: number) => boolean;
}

const LEFT = 46;
const TOP = 40;

/** White to dark blue. */
function colour(share: number): string {
  const at = Math.min(1, Math.max(0, share));
  const mix = (from: number, to: number) => Math.round(from + (to - from) * at);
  return `rgb(${mix(255, 12)},${mix(255, 48)},${mix(255, 120)})`;
}

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');

export function heatMap(map: HeatMap): string {
  const columns = Math.max(1, ...map.rows.map((row) => row.length));
  const cell = Math.max(2, Math.min(18, Math.floor(640 / Math.max(columns, map.rows.length))));
  const width = LEFT + columns * cell + 16;
  const height = TOP + map.rows.length * cell + 34;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${Math.max(width, 360)} ${height}" font-family="sans-serif" font-size="11">`,
    `<title>${escaped(map.title)}</title>`,
    `<rect width="${Math.max(width, 360)}" height="${height}" fill="white"/>`,
    `<text x="${LEFT}" y="20" font-size="13">${escaped(map.title)}</text>`,
    `<text x="${LEFT}" y="${height - 10}">${escaped(map.x)}: 0 to ${columns - 1}</text>`,
    `<text transform="translate(14 ${height - 34}) rotate(-90)">${escaped(map.y)}: 0 to ${map.rows.length - 1}, downwards</text>`,
  ];
  for (const [row, shares] of map.rows.entries()) {
    for (const [column, share] of shares.entries()) {
      if (share === null) continue;
      const frame = map.marked?.(row, column) === true ? ' stroke="#d9480f" stroke-width="0.8"' : '';
      parts.push(
        `<rect x="${LEFT + column * cell}" y="${TOP + row * cell}" width="${cell}" height="${cell}" fill="${colour(share)}"${frame}><title>${share.toFixed(3)}</title></rect>`,
      );
    }
  }
  parts.push('</svg>');
  return `${parts.join('\n')}\n`;
}
