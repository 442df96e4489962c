import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import type { TokenizerDefinition } from './text-tokenizer.ts';
import type { Spelling } from './token-bytes.ts';
import { UnsupportedTokenizerError } from './unsupported.ts';

const named = z.union([z.string(), z.object({ content: z.string() }).transform((token) => token.content)]);
const configSchema = z.looseObject({
  bos_token: named.nullish(),
  eos_token: named.nullish(),
  add_bos_token: z.boolean().nullish(),
  chat_template: z.union([z.string(), z.array(z.object({ name: z.string(), template: z.string() }))]).nullish(),
});
const tokenizerSchema = z.looseObject({
  added_tokens: z.array(z.looseObject({ id: z.number(), content: z.string(), special: z.boolean() })).default([]),
  decoder: z.unknown(),
  pre_tokenizer: z.unknown(),
});

export interface FolderTokenizer {
  definition: TokenizerDefinition;
  bosToken: string | null;
  eosToken: string | null;
  /** Jinja source, when the folder has one. */
  chatTemplate: string | null;
}

/** Reads tokenizer.json, tokenizer_config.json and chat_template.jinja of a Hugging Face folder. */
export async function folderTokenizer(folder: string): Promise<FolderTokenizer> {
  const json = await readOptional(join(folder, 'tokenizer.json'));
  if (json === undefined) {
    throw new UnsupportedTokenizerError(
      `${folder} has no tokenizer.json; save the tokenizer with the transformers library (fast tokenizer) first.`,
    );
  }
  const tokenizer = tokenizerSchema.parse(JSON.parse(json));
  const config = configSchema.parse(JSON.parse((await readOptional(join(folder, 'tokenizer_config.json'))) ?? '{}'));
  const added = tokenizer.added_tokens.map(({ id, content, special }) => ({ id, content, special }));
  const bosToken = config.bos_token ?? null;
  return {
    definition: {
      json,
      added,
      spelling: spellingOf(tokenizer),
      bosId: added.find((one) => one.content === bosToken)?.id ?? null,
      addBos: null,
    },
    bosToken,
    eosToken: config.eos_token ?? null,
    chatTemplate: (await readOptional(join(folder, 'chat_template.jinja'))) ?? templateOf(config.chat_template),
  };
}

function templateOf(template: z.infer<typeof configSchema>['chat_template']): string | null {
  if (template === undefined || template === null || typeof template === 'string') return template ?? null;
  return (template.find((one) => one.name === 'default') ?? template[0])?.template ?? null;
}

function spellingOf(tokenizer: { decoder: unknown; pre_tokenizer: unknown }): Spelling {
  const parts = JSON.stringify([tokenizer.decoder ?? null, tokenizer.pre_tokenizer ?? null]);
  if (parts.includes('"ByteLevel"')) return 'byte_level';
  return parts.includes('▁') || parts.includes('"Metaspace"') ? 'sentencepiece' : 'plain';
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
