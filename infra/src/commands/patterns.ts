import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ROOT, readConfig } from '../config.ts';
import { Failure } from '../failure.ts';
import { Home } from '../home/home.ts';
import { listInstalled } from '../models/model-folder.ts';
import { parseArguments } from './arguments.ts';

const PROGRAM = join(ROOT, 'workers-gpu', 'src', 'attention', 'search-main.ts');
const PASSED = ['tokens', 'error', 'recall', 'min-tokens', 'every', 'threads'] as const;

const USAGE = `usage: longshore patterns search --model NAME|PATH --text FILE [--out patterns] [--tokens 16384] [--min-tokens 2048]
  [--error 0.05] [--recall 0.8] [--every 4] [--threads 0]`;

async function pathOf(model: string): Promise<string> {
  const installed = (await listInstalled(new Home(readConfig(process.env).home))).find(({ name }) => name === model);
  const path = installed?.path ?? resolve(model);
  if (!existsSync(path)) throw new Failure(`no model "${model}": pull it (longshore models pull), or give a path`);
  return path;
}

/** `longshore patterns search`: the attention policy of a model, measured per head on a text. */
export async function patterns(args: string[]): Promise<number> {
  const [verb, ...rest] = args;
  const flags = ['model', 'text', 'out', ...PASSED].map((name) => ({ name, type: 'string' as const }));
  const given = parseArguments(rest, flags);
  const model = given.text('model');
  const text = given.text('text');
  if (verb !== 'search' || model === undefined || text === undefined || given.positionals.length > 0)
    throw new Failure(USAGE);
  const passed = PASSED.flatMap((name) => (given.text(name) === undefined ? [] : [`--${name}`, given.text(name)!]));
  const path = await pathOf(model);
  const child = spawn(
    process.execPath,
    [PROGRAM, '--model', path, '--text', resolve(text), '--out', resolve(given.text('out') ?? 'patterns'), ...passed],
    { stdio: 'inherit' },
  );
  return await new Promise((done, failed) => {
    child.on('error', failed);
    child.on('exit', (code) => done(code ?? 1));
  });
}
