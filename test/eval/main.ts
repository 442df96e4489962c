import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { type Engine, open } from '@longshore/native';
import { type EvalOptions, readArguments } from './arguments.ts';
import { ask, blocksFor, CHUNK } from './ask.ts';
import { type CellLine, round, scores } from './cell.ts';
import { type EvalModel, findModel, MODELS } from './model.ts';
import { Random } from './random.ts';
import type { Outcome } from './score.ts';
import type { Context, Task } from './task.ts';
import { PAIR_TASKS } from './tasks/pairs.ts';
import { PROSE_TASKS } from './tasks/prose.ts';

/** The long-context evaluation: tasks x lengths x policies, each policy on the same questions. See docs/design/0019. */

const TASKS: readonly Task[] = [...PAIR_TASKS, ...PROSE_TASKS];

/** Contexts until there are enough questions; the same for every policy. A prompt's own tokens come on top of `length`. */
async function contextsOf(model: EvalModel, task: Task, length: number, options: EvalOptions): Promise<Context[]> {
  const contexts: Context[] = [];
  for (let asked = 0; asked < options.questions; ) {
    const random = new Random([options.seed, model.name, task.name, length, contexts.length].join('/'));
    const missing = options.questions - asked;
    const wanted = Math.min(missing, task.questionsPerContext ?? missing);
    const context = await task.context({ dialect: model.dialect, random, length, questions: wanted });
    const questions = context.dialogues.flat().reduce((sum, one) => sum + (one.countEach ? one.answers.length : 1), 0);
    if (questions + context.probes.length === 0) throw new Error(`${task.name} asks nothing at ${length} tokens`);
    asked += questions + context.probes.length;
    contexts.push(context);
  }
  return contexts;
}

interface Measured {
  outcomes: Outcome[];
  prefillMs: number;
  askMs: number;
  prefill: Record<string, number>;
  ask: Record<string, number>;
}

function add(counters: Record<string, number>, to: Record<string, number>): void {
  for (const [key, value] of Object.entries(counters)) to[key] = (to[key] ?? 0) + value;
}

const share = (part: number, whole: number): number | null => (whole > 0 ? round(part / whole, 5) : null);

/** What decode read, where the policy took any token of the questions. */
function decodeShares(ask: Record<string, number>): Pick<CellLine, 'decode'> {
  const { decodeKeys = 0, decodeScannedKeys = 0, decodeKeptKeys = 0, decodeBytes = 0, decodeDenseBytes = 0 } = ask;
  if (decodeKeys === 0) return {};
  return {
    decode: {
      bytes: share(decodeBytes, decodeDenseBytes),
      scanned: share(decodeScannedKeys, decodeKeys),
      kept: share(decodeKeptKeys, decodeKeys),
      recall: share(ask.decodeMassKept ?? 0, ask.decodeMeasured ?? 0),
      attention_us: round((1000 * (ask.attentionMs ?? 0)) / Math.max(1, ask.tokens ?? 0), 1),
    },
  };
}

async function run(
  engine: Engine,
  model: EvalModel,
  contexts: readonly Context[],
  decoded: boolean,
): Promise<Measured> {
  const total: Measured = { outcomes: [], prefillMs: 0, askMs: 0, prefill: {}, ask: {} };
  for (const [index, context] of contexts.entries()) {
    const answered = await ask(engine, model.dialect, context, String(index), decoded);
    total.outcomes.push(...answered.outcomes);
    total.prefillMs += answered.prefillMs;
    total.askMs += answered.askMs;
    add(answered.prefill, total.prefill);
    add(answered.ask, total.ask);
  }
  return total;
}

/** "PREFILL" or "PREFILL+DECODE": a policy, and instead of its own decode a name or the path of a file of core's decodePolicySchema. */
async function policiesOf(text: string): Promise<{ policy: string; decodePolicy?: string }> {
  const [policy, decode] = text.split('+') as [string, string | undefined];
  if (decode === undefined) return { policy };
  return { policy, decodePolicy: decode.endsWith('.json') ? await readFile(decode, 'utf8') : decode };
}

async function cells(
  model: EvalModel,
  task: Task,
  length: number,
  options: EvalOptions,
  write: (line: CellLine) => void,
) {
  const contexts = await contextsOf(model, task, length, options);
  let dense: ReadonlySet<string> | undefined;
  for (const policy of options.policies) {
    const engine = await open({
      model: model.path,
      kvBlocks: Math.max(...contexts.map(blocksFor)),
      maxBatchTokens: CHUNK,
      threads: options.threads,
      ...(await policiesOf(policy)),
    });
    try {
      const measured = await run(engine, model, contexts, options.decoded);
      if (policy === 'dense' || policy.endsWith('+dense'))
        dense ??= new Set(measured.outcomes.filter((one) => one.correct).map((one) => one.id));
      const { causalEntries = 0, computedEntries = 0, scannedEntries = 0 } = measured.prefill;
      write({
        bench: 'longctx',
        model: model.name,
        task: task.name,
        n: length,
        policy: policy
          .split('+')
          .map((part) => basename(part, '.json'))
          .join('+'),
        ...scores(measured.outcomes, dense),
        density: policy === 'dense' ? 1 : causalEntries > 0 ? round(computedEntries / causalEntries, 5) : null,
        scanned: policy !== 'dense' && causalEntries > 0 ? round(scannedEntries / causalEntries, 5) : null,
        ...decodeShares(measured.ask),
        contexts: contexts.length,
        prefill_ms: round(measured.prefillMs, 1),
        ask_ms: round(measured.askMs, 1),
        numerics: engine.info.numerics,
        seed: options.seed,
      });
    } finally {
      await engine.close();
    }
  }
}

function show(line: CellLine): string {
  const share = (value: number | null) => (value === null ? '    -' : `${(100 * value).toFixed(1).padStart(5)}`);
  const name = [line.model.padEnd(8), line.task.padEnd(20), String(line.n).padStart(6), line.policy.padEnd(16)].join(
    ' ',
  );
  return `${name} ${share(line.accuracy)} %  of dense's ${share(line.kept)} %  density ${share(line.density)} %  ${line.questions} questions, prefill ${(line.prefill_ms / 1000).toFixed(1)} s, questions ${(line.ask_ms / 1000).toFixed(1)} s`;
}

async function main(): Promise<void> {
  const options = readArguments(process.argv.slice(2));
  const unknown = options.tasks.filter((name) => !TASKS.some((task) => task.name === name));
  if (unknown.length > 0)
    throw new Error(
      `no task ${unknown.join(', ')}; there are ${[...new Set(TASKS.map((task) => task.name))].join(', ')}`,
    );
  let lines = 0;
  for (const name of options.models) {
    const model = await findModel(name);
    if (model === undefined) {
      console.error(`${name}: not on this machine; set ${MODELS[name]!.variable}, or pull it (longshore models pull)`);
      continue;
    }
    const lengths = options.lengths.length > 0 ? options.lengths : MODELS[name]!.lengths;
    for (const length of lengths) {
      for (const task of TASKS) {
        if (!task.dialects.includes(model.dialect.name)) continue;
        if (options.tasks.length > 0 && !options.tasks.includes(task.name)) continue;
        await cells(model, task, length, options, (line) => {
          lines++;
          console.log(options.json ? JSON.stringify(line) : show(line));
        });
      }
    }
  }
  if (lines === 0) throw new Error('nothing was evaluated: none of the models is on this machine');
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
});
