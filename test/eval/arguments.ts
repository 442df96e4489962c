import { parseArgs } from 'node:util';
import { MODELS } from './model.ts';

export interface EvalOptions {
  json: boolean;
  models: string[];
  /** Empty: all that the model's dialect has. */
  tasks: string[];
  /** Empty: the model's own. */
  lengths: number[];
  policies: string[];
  questions: number;
  seed: string;
  threads: number;
  /** Questions go in a token a step: what is judged is decode. */
  decoded: boolean;
}

const USAGE = `usage: npm run eval:longctx -- [--json] [--quick] [--models ${Object.keys(MODELS).join(',')}] [--tasks needle_single,...]
  [--lengths 1K,8K,...] [--policies dense,<name or file>[+<decode name or file>],...] [--questions 200] [--seed 1] [--threads 0 (all cores)]
  [--decoded (questions a token a step: judges decode policies)]`;

const list = (text: string | undefined): string[] =>
  text === undefined ? [] : text.split(',').filter((part) => part !== '');

function tokens(text: string): number {
  const match = /^(\d+)(K?)$/i.exec(text);
  const count = match === null ? 0 : Number(match[1]) * (match[2] === '' ? 1 : 1024);
  if (count < 256 || count % 128 !== 0)
    throw new Error(`--lengths: "${text}" is not a multiple of 128 of at least 256, such as 8K`);
  return count;
}

function whole(name: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least)
    throw new Error(`--${name}: "${text}" is not a whole number of at least ${least}`);
  return value;
}

/** Throws with the usage for an option that it does not know. `quick`: one model, 1K tokens, few questions. */
export function readArguments(args: string[]): EvalOptions {
  const text = { type: 'string' } as const;
  let values: { [name: string]: string | boolean | undefined };
  try {
    values = parseArgs({
      args,
      options: {
        json: { type: 'boolean' },
        quick: { type: 'boolean' },
        models: text,
        tasks: text,
        lengths: text,
        policies: text,
        questions: text,
        seed: text,
        threads: text,
        decoded: { type: 'boolean' },
      },
    }).values;
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
  }
  const quick = values.quick === true;
  const given = (name: string): string | undefined => values[name] as string | undefined;
  const models = list(given('models'));
  return {
    json: values.json === true,
    models: models.length > 0 ? models : Object.keys(MODELS).filter((name) => !quick || name !== 'gemma3'),
    tasks: given('tasks') === undefined && quick ? ['needle_single', 'kv_retrieval'] : list(given('tasks')),
    lengths: given('lengths') === undefined && quick ? [1024] : list(given('lengths')).map(tokens),
    policies: given('policies') === undefined ? ['dense'] : list(given('policies')),
    questions: whole('questions', given('questions') ?? (quick ? '20' : '200'), 1),
    seed: given('seed') ?? '1',
    decoded: values.decoded === true,
    threads: whole('threads', given('threads') ?? '0', 0),
  };
}
