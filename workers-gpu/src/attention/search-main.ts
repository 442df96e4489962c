import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { BLOCK_TOKENS, open, readModelMetadata } from '@longshore/native';
import { loadModelText } from '../tokenizer/model-text.ts';
import { candidatePolicies } from './candidates.ts';
import { searchPatterns } from './search.ts';
import { searchReport } from './search-report.ts';

/** The process behind `longshore patterns search`: writes policy.json, report.md and heat maps into a folder. */

const CHUNK = 1024;

function share(name: string, text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value <= 1)) throw new Error(`--${name} needs a share from 0 to 1`);
  return value;
}

function count(name: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least) throw new Error(`--${name} needs a whole number of at least ${least}`);
  return value;
}

async function main(): Promise<void> {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      model: text,
      text,
      out: text,
      tokens: text,
      error: text,
      recall: text,
      'min-tokens': text,
      every: text,
      threads: text,
    },
  });
  if (!values.model || !values.text || !values.out) throw new Error('--model, --text and --out are needed');
  const metadata = await readModelMetadata(values.model);
  const { tokenizer } = await loadModelText(values.model, metadata);
  const all = await tokenizer.encode(readFileSync(values.text, 'utf8'), 'text');
  const most = Math.min(all.length, metadata.contextLength, count('tokens', values.tokens ?? '16384', BLOCK_TOKENS));
  const tokens = Uint32Array.from(all.slice(0, Math.floor(most / BLOCK_TOKENS) * BLOCK_TOKENS));
  const minTokens = count('min-tokens', values['min-tokens'] ?? '2048', 0);
  if (tokens.length < minTokens + BLOCK_TOKENS)
    throw new Error(`the text has ${tokens.length} tokens; more than ${minTokens + BLOCK_TOKENS} are needed`);
  const options = {
    candidates: candidatePolicies(),
    limits: { error: share('error', values.error ?? '0.05'), recall: share('recall', values.recall ?? '0.8') },
    minTokens,
    every: count('every', values.every ?? '4', 1),
    chunk: CHUNK,
    onProgress: (done: number) => process.stderr.write(`measured ${done} of ${tokens.length} tokens\n`),
  };
  const engine = await open({
    model: values.model,
    kvBlocks: tokens.length / BLOCK_TOKENS,
    maxBatchTokens: CHUNK,
    threads: count('threads', values.threads ?? '0', 0),
  });
  try {
    const result = await searchPatterns(engine, tokens, options);
    mkdirSync(values.out, { recursive: true });
    const files = searchReport(engine.info.name, tokens.length, options, result);
    files.set('policy.json', `${JSON.stringify(result.policy, null, 2)}\n`);
    for (const [name, content] of files) writeFileSync(join(values.out, name), content);
    process.stdout.write(
      `${join(values.out, 'policy.json')}: density ${(100 * result.density).toFixed(1)} %, ${(100 * result.time).toFixed(1)} % of dense attention's time on these blocks\n`,
    );
  } finally {
    await engine.close();
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
