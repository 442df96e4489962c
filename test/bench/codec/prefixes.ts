import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type ModelMetadata, readModelMetadata } from '@longshore/native';
import { loadModelText, type ModelText } from '../../../workers-gpu/src/tokenizer/model-text.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

export interface Tokenized {
  metadata: ModelMetadata;
  text: ModelText;
}

export async function tokenizerOf(model: string): Promise<Tokenized> {
  const metadata = await readModelMetadata(model);
  return { metadata, text: await loadModelText(model, metadata) };
}

/** The repository's texts that never change: a long document, then the golden prompts (prose, code, tables, logs, chat). */
export async function repositoryTokens({ text }: Tokenized): Promise<number[]> {
  const golden = `${ROOT}test/golden/prompts/`;
  const files = [
    `${ROOT}test/demo/text/constitution.md`,
    ...readdirSync(golden)
      .sort()
      .map((name) => golden + name),
  ];
  const tokens: number[] = [];
  for (const file of files) tokens.push(...(await text.tokenizer.encode(readFileSync(file, 'utf8'), 'middle')));
  return tokens;
}

export interface Prompt {
  /** A multiple of 128. */
  prefix: Uint32Array;
  /** The token that follows: the first one computed on a restored prefix. */
  next: number;
}

/** `count` windows of `length` tokens, evenly over the text, each behind the model's first token. */
export function windows(tokens: readonly number[], bos: number | null, count: number, length: number): Prompt[] {
  const stride = Math.floor((tokens.length - length - 1) / count);
  return Array.from({ length: count }, (_, index) => {
    const start = index * stride;
    const head = bos === null ? [] : [bos];
    const end = start + length - head.length;
    return { prefix: Uint32Array.from([...head, ...tokens.slice(start, end)]), next: tokens[end]! };
  });
}
