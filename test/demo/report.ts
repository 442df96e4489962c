import type { DemoResult } from './demo.ts';

export type Codec = 'raw' | 'lossless' | 'int8' | 'int4';

/** The demo's last line under --json. Times in milliseconds, sizes in bytes. */
export interface DemoSummary {
  prompt_tokens: number;
  cold_ttft_ms: number;
  resume_ttft_ms: number;
  speedup: number;
  cached_tokens: number;
  tier: string;
  worker_changed: boolean;
  same_tokens: boolean;
  stored_bytes: number;
  kv_bytes: number;
}

const rounded = (value: number, digits: number): number => Number(value.toFixed(digits));

export function summarize({ first, resumed, cold, stored }: DemoResult): DemoSummary {
  return {
    prompt_tokens: resumed.promptTokens,
    cold_ttft_ms: rounded(cold.ttftMs, 1),
    resume_ttft_ms: rounded(resumed.ttftMs, 1),
    speedup: rounded(cold.ttftMs / resumed.ttftMs, 2),
    cached_tokens: resumed.cachedTokens,
    tier: resumed.report.cache.tier,
    worker_changed: resumed.report.worker_id !== first.report.worker_id,
    // The same prompt, token for token, is what makes the comparison one of the cache alone.
    same_tokens:
      resumed.promptTokens === cold.promptTokens &&
      cold.cachedTokens === 0 &&
      JSON.stringify(resumed.tokenIds) === JSON.stringify(cold.tokenIds),
    stored_bytes: stored.storedBytes,
    kv_bytes: stored.rawBytes,
  };
}

export function table(result: DemoResult, summary: DemoSummary, codec: Codec): string {
  const { first, resumed, cold, shared } = result;
  const answers = { 'first turn': first, 'resumed turn': resumed, 'no cache': cold, 'another key': shared };
  const rows = Object.entries(answers).map(([name, answer]) => [
    name,
    answer.report.worker_id,
    `${answer.ttftMs.toFixed(0)} ms`,
    String(answer.promptTokens),
    String(answer.cachedTokens),
    answer.report.cache.tier,
    `${(answer.report.cache.bytes / 1e6).toFixed(1)} MB`,
  ]);
  const head = ['', 'worker', 'first token', 'prompt tokens', 'cached', 'tier', 'read'];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: string[]) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd();
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  return [
    line(head),
    line(widths.map((width) => '-'.repeat(width))),
    ...rows.map(line),
    '',
    `first token, cold / resumed     ${summary.speedup.toFixed(1)}x`,
    `KV cache, and as stored on S3   ${megabytes(summary.kv_bytes)}, ${megabytes(summary.stored_bytes)} (codec ${codec}: ${(summary.kv_bytes / summary.stored_bytes).toFixed(2)}x)`,
    `resumed tokens = uncached ones  ${summary.same_tokens ? 'yes' : 'NO'}`,
    `another worker resumed          ${summary.worker_changed ? 'yes' : 'NO'}`,
  ].join('\n');
}

/** What the demo promises; each line is a promise that was not kept. Only the codecs that lose nothing promise the same tokens. */
export function brokenPromises(summary: DemoSummary, codec: Codec): string[] {
  const broken: string[] = [];
  if (!summary.worker_changed) broken.push('the resumed turn ran on the killed worker');
  if (summary.tier !== 's3') broken.push(`the resumed turn's KV came from ${summary.tier}, not from s3`);
  if (codec !== 'int8' && codec !== 'int4' && !summary.same_tokens)
    broken.push('the resumed tokens differ from those of an uncached run');
  if (summary.cached_tokens < summary.prompt_tokens / 2)
    broken.push('less than half of the prompt came from the cache');
  return broken;
}
