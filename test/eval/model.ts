import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ModelMetadata, readModelMetadata } from '@longshore/native';
import { loadModelText } from '../../workers-gpu/src/tokenizer/model-text.ts';
import type { Dialect } from './task.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Place {
  dialect: Dialect['name'];
  /** Overrides where the model is looked for. */
  variable: string;
  lengths: number[];
  find(): string | undefined;
}

/** A model that `longshore models pull` installed. */
function pulled(pattern: RegExp): string | undefined {
  const models = join(process.env.LONGSHORE_HOME || join(ROOT, '.longshore'), 'models');
  if (!existsSync(models)) return undefined;
  const found = readdirSync(models, { recursive: true, encoding: 'utf8' }).find((file) => pattern.test(file));
  return found === undefined ? undefined : join(models, found);
}

function folder(path: string): string | undefined {
  return existsSync(join(path, 'config.json')) ? path : undefined;
}

/** The models of the suite, and the lengths that are run when none are named. */
export const MODELS: Readonly<Record<string, Place>> = {
  needle: {
    dialect: 'pairs',
    variable: 'LONGSHORE_EVAL_NEEDLE',
    lengths: [1024, 8192, 32768],
    find: () => folder(join(ROOT, '..', 'shared', 'models', 'needle')),
  },
  smollm2: {
    dialect: 'prose',
    variable: 'LONGSHORE_TEST_MODEL',
    lengths: [1024, 4096],
    find: () => pulled(/smollm2.*\.gguf$/i),
  },
  gemma3: {
    dialect: 'prose',
    variable: 'LONGSHORE_TEST_GEMMA3',
    lengths: [1024, 8192],
    find: () => pulled(/gemma-3-270m.*\.gguf$/i),
  },
};

export interface EvalModel {
  name: string;
  path: string;
  metadata: ModelMetadata;
  dialect: Dialect;
}

/** undefined where the model is not on this machine. Throws for a name that is none of MODELS. */
export async function findModel(name: string): Promise<EvalModel | undefined> {
  const place = MODELS[name];
  if (place === undefined) throw new Error(`no model "${name}" in the suite; it has ${Object.keys(MODELS).join(', ')}`);
  const path = process.env[place.variable] || place.find();
  if (path === undefined) return undefined;
  const metadata = await readModelMetadata(path);
  const { tokenizer } = await loadModelText(path, metadata);
  return {
    name,
    path,
    metadata,
    dialect: {
      name: place.dialect,
      begin: metadata.bosId === null || (place.dialect === 'prose' && name === 'smollm2') ? [] : [metadata.bosId],
      encode: (text) => tokenizer.encode(text, 'middle'),
      decode: (tokens) => tokenizer.decode(tokens),
      stop: place.dialect === 'pairs' ? ';' : '\n',
    },
  };
}
