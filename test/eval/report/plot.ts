/** Small SVG plots: a few series of points, axes with ticks, a legend. No dependency, the same bytes for the same data. */

interface Series {
  name: string;
  points: ReadonlyArray<readonly [x: number, y: number]>;
}

export interface Plot {
  title: string;
  x: string;
  y: string;
  series: readonly Series[];
  /** Logarithmic x axis, for lengths and densities. */
  logX?: boolean;
  logY?: boolean;
  /** Values that the y axis shows whatever the points are: shares are read against 0 and 100. */
  shownY?: readonly number[];
  /** Points joined by lines. */
  joined: boolean;
}

const WIDTH = 640;
const HEIGHT = 360;
const LEFT = 70;
const RIGHT = 170;
const TOP = 36;
const BOTTOM = 52;
const COLOURS = ['#1f5fa8', '#c2571a', '#2f8f4e', '#8a3fa0', '#a08a1a', '#555555'];

interface Axis {
  at(value: number): number;
  ticks: number[];
}

function axis(values: readonly number[], log: boolean, from: number, to: number): Axis {
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (log) {
    const first = Math.floor(Math.log2(low));
    const last = Math.max(first + 1, Math.ceil(Math.log2(high)));
    const every = Math.ceil((last - first) / 8);
    const ticks: number[] = [];
    for (let power = first; power <= last; power += every) ticks.push(2 ** power);
    return { ticks, at: (value) => from + ((Math.log2(value) - first) / (last - first)) * (to - from) };
  }
  const span = high > low ? high - low : Math.abs(high) || 1;
  const step = 10 ** Math.floor(Math.log10(span)) / (span / 10 ** Math.floor(Math.log10(span)) < 3 ? 4 : 1);
  const first = Math.floor(low / step) * step;
  const last = Math.max(first + step, Math.ceil(high / step) * step);
  const ticks: number[] = [];
  for (let value = first; value <= last + step / 2; value += step) ticks.push(Number(value.toPrecision(6)));
  return { ticks, at: (value) => from + ((value - first) / (last - first)) * (to - from) };
}

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const label = (value: number): string =>
  value >= 1024 && value % 1024 === 0 ? `${value / 1024}K` : Number(value.toPrecision(3)).toString();

/** Series without points are left out. Throws when nothing is left. */
export function svg(plot: Plot): string {
  const series = plot.series.filter(({ points }) => points.length > 0);
  const all = series.flatMap(({ points }) => points);
  if (all.length === 0) throw new Error(`no points for "${plot.title}"`);
  const x = axis(
    all.map(([value]) => value),
    plot.logX === true,
    LEFT,
    WIDTH - RIGHT,
  );
  const y = axis([...all.map(([, value]) => value), ...(plot.shownY ?? [])], plot.logY === true, HEIGHT - BOTTOM, TOP);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<title>${escaped(plot.title)}</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    `<text x="${LEFT}" y="20" font-size="14">${escaped(plot.title)}</text>`,
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 12}" text-anchor="middle">${escaped(plot.x)}</text>`,
    `<text transform="translate(16 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">${escaped(plot.y)}</text>`,
  ];
  for (const tick of x.ticks) {
    const at = x.at(tick).toFixed(1);
    parts.push(`<path d="M${at} ${TOP}V${HEIGHT - BOTTOM}" stroke="#ddd"/>`);
    parts.push(`<text x="${at}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${label(tick)}</text>`);
  }
  for (const tick of y.ticks) {
    const at = y.at(tick).toFixed(1);
    parts.push(`<path d="M${LEFT} ${at}H${WIDTH - RIGHT}" stroke="#ddd"/>`);
    parts.push(`<text x="${LEFT - 8}" y="${at}" dy="4" text-anchor="end">${label(tick)}</text>`);
  }
  for (const [index, { name, points }] of series.entries()) {
    const colour = COLOURS[index % COLOURS.length]!;
    const places = points.map(([px, py]) => [x.at(px).toFixed(1), y.at(py).toFixed(1)] as const);
    if (plot.joined) {
      const path = places.map(([px, py], at) => `${at === 0 ? 'M' : 'L'}${px} ${py}`).join('');
      parts.push(`<path d="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`);
    }
    for (const [px, py] of places)
      parts.push(`<circle cx="${px}" cy="${py}" r="4" fill="${colour}" fill-opacity="0.8"/>`);
    const top = TOP + 10 + 20 * index;
    parts.push(`<circle cx="${WIDTH - RIGHT + 16}" cy="${top}" r="4" fill="${colour}"/>`);
    parts.push(`<text x="${WIDTH - RIGHT + 26}" y="${top + 4}">${escaped(name)}</text>`);
  }
  parts.push('</svg>');
  return `${parts.join('\n')}\n`;
}
