import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findInstalled, Home, readConfig } from '@longshore/infra';
import { readModelMetadata } from '@longshore/native';
import { loadModelText } from '../../../workers-gpu/src/tokenizer/model-text.ts';
import { needleModel, runEngine } from './engine.ts';
import { needlePrompt } from './needle-prompt.ts';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
/** Where dense attention takes minutes, so many query blocks at equal distances are timed and scaled; the line says how many. */
const DENSE_SAMPLE = 16;
const WHOLE_DENSE_TOKENS = 8192;

export interface PrefillCase {
  model: string;
  data: 'pairs' | 'filler' | 'text';
  tokens: number[];
}

/** The needle model (its two kinds of prompt) and SmolLM2 (this repository's documents), whichever are on this machine. */
export async function prefillCases(lengths: readonly number[]): Promise<PrefillCase[]> {
  const cases: PrefillCase[] = [];
  const needle = needleModel();
  if (needle) {
    for (const n of lengths)
      for (const data of ['filler', 'pairs'] as const)
        cases.push({ model: needle, data, tokens: needlePrompt(data, n) });
  }
  const smollm2 =
    process.env.LONGSHORE_TEST_MODEL ||
    (await findInstalled(new Home(readConfig(process.env).home), 'smollm2-135m-instruct'))?.path;
  if (smollm2) {
    const { tokenizer } = await loadModelText(smollm2, await readModelMetadata(smollm2));
    const tokens = await tokenizer.encode(await documents(), 'middle');
    for (const n of lengths)
      if (n <= 8192 && n <= tokens.length) cases.push({ model: smollm2, data: 'text', tokens: tokens.slice(0, n) });
  }
  return cases;
}

async function documents(): Promise<string> {
  const files = ['test/demo/text/constitution.md', 'docs/ARCHITECTURE.md', 'docs/GLOSSARY.md', 'CONTRIBUTING.md'];
  return (await Promise.all(files.map((file) => readFile(join(ROOT, file), 'utf8')))).join('\n');
}

/** One sparse_prefill line of the native bench. Rejects with its message when it fails. */
export async function benchPrefill(one: PrefillCase, options: { policy: string; threads: string }): Promise<object> {
  const folder = await mkdtemp(join(tmpdir(), 'longshore-bench-'));
  try {
    const file = join(folder, 'tokens');
    await writeFile(file, one.tokens.join(','));
    const sampled = one.tokens.length > WHOLE_DENSE_TOKENS ? ['--dense-sample', String(DENSE_SAMPLE)] : [];
    const named = ['--model', one.model, '--data', one.data, '--tokens', file];
    const output = await runEngine('bench-prefill-attention', [
      ...named,
      '--policy',
      options.policy,
      '--threads',
      options.threads,
      ...sampled,
    ]);
    return JSON.parse(output) as object;
  } finally {
    await rm(folder, { recursive: true });
  }
}
