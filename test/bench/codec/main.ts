import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Failure, lineProgress, pullModel, readConfig } from '@longshore/infra';
import { open } from '@longshore/native';
import { keyValuePairs, passKeys } from './exams.ts';
import type { Treatment } from './pool.ts';
import { repositoryTokens, tokenizerOf, windows } from './prefixes.ts';
import { Quality } from './quality.ts';
import { type Exam, recall, recallPool } from './recall.ts';

/**
 * `npm run bench:codec -- --json [--quick --part speed|product|exact|tasks --answer 200]`: what each codec of stored KV costs and keeps, on real KV of the default model. One JSON
 * object per line: `codec` (size and speed of one core over 4,096 tokens of a text of the repository), `codec_quality` (20 prefixes through
 * the codec against the same prefixes never encoded; `ulp`: every bf16 moved by its last bit, the least that any change can do),
 * `codec_task` (recall of what a long prefix says). Exit code 1 when a codec that loses nothing changed a bit.
 */
const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    quick: { type: 'boolean', default: false },
    /** speed, product, exact, tasks; all when absent. */
    part: { type: 'string', multiple: true },
    answer: { type: 'string' },
  },
});
const LOSSY: readonly Treatment[] = ['ulp', 'int8', 'int4'];
const ALL: readonly Treatment[] = ['lossless', ...LOSSY];
const root = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const needle = root('../shared/models/needle');

const { quick } = values;
const machine = { cpu: cpus()[0]!.model, cores: cpus().length };
const progress = lineProgress((line) => void process.stderr.write(`${line}\n`));
const model = await pullModel(readConfig(process.env), 'smollm2-135m-instruct', progress);
const tokenized = await tokenizerOf(model.path);
const tokens = await repositoryTokens(tokenized);
let kept = true;

const wanted = (part: string) => values.part?.includes(part) ?? true;
const answerTokens = Number(values.answer ?? (quick ? 64 : 200));
const bos = tokenized.metadata.bosId;
if (wanted('speed')) await speed(tokens.slice(0, quick ? 1024 : 4096));
if (wanted('product')) await quality('product', windows(tokens, bos, quick ? 4 : 20, 1024), answerTokens, ALL);
if (wanted('exact') && !quick) await quality('exact', windows(tokens, bos, 20, 384), 64, LOSSY);
if (wanted('tasks')) await tasks();
process.exitCode = kept ? 0 : 1;

function print(line: Record<string, unknown>): void {
  const rounded = Object.entries(line).map(([name, value]) => [
    name,
    typeof value === 'number' ? Number(value.toPrecision(4)) : value,
  ]);
  process.stdout.write(`${JSON.stringify(Object.fromEntries(rounded))}\n`);
}

/** The engine's own benchmark, in a process of its own. */
async function speed(ids: number[]): Promise<void> {
  const args = ['bench-codec', '--model', model.path, '--tokens', '-', '--repeat', quick ? '3' : '5'];
  const child = spawn(root('native/build/longshore-native'), args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(ids.join(' '));
  let text = '';
  for await (const chunk of child.stdout.setEncoding('utf8')) text += chunk;
  const lines = text.split('\n').filter((line) => line !== '');
  if (lines.length === 0) throw new Failure('longshore-native printed nothing: npm run build, then try again');
  for (const line of lines) {
    const measured = JSON.parse(line) as { codec: string; bit_equal: string };
    const loses = measured.bit_equal !== 'yes';
    kept &&= !loses || measured.codec === 'int8' || measured.codec === 'int4';
    process.stdout.write(`${JSON.stringify({ ...measured, model: model.name, ...machine })}\n`);
  }
}

/** `exact`: the engine in f32 throughout, whose own 8-bit activations do not amplify the least change. */
async function quality(
  engineKind: 'product' | 'exact',
  prompts: ReturnType<typeof windows>,
  answerTokens: number,
  treatments: readonly Treatment[],
): Promise<void> {
  const kvBlocks = Quality.pool(prompts, answerTokens).size;
  const engine = await open({ model: model.path, kvBlocks, exact: engineKind === 'exact' });
  try {
    const bench = new Quality(engine, prompts, answerTokens);
    await bench.prepare();
    for (const codec of treatments) {
      const line = await bench.measure(codec, engineKind === 'product');
      kept &&= codec !== 'lossless' || line.logits_bit_equal;
      print({ bench: 'codec_quality', codec, engine: engineKind, ...line, model: model.name });
    }
  } finally {
    await engine.close();
  }
}

async function tasks(): Promise<void> {
  await task('pass_key', model.path, await passKeys(tokenized, tokens, quick ? 6 : 40, 1536));
  if (!existsSync(needle)) return;
  const fixture = await tokenizerOf(needle);
  for (const length of quick ? [8192] : [8192, 32_768])
    await task('key_value', needle, await keyValuePairs(fixture, quick ? 20 : 100, length));
}

/** Recall from a long prefix under each codec. */
async function task(name: string, path: string, exams: readonly Exam[]): Promise<void> {
  const engine = await open({ model: path, kvBlocks: recallPool(exams).size });
  try {
    const questions = exams.reduce((sum, exam) => sum + exam.questions.length, 0);
    for (const [codec, exact] of await recall(engine, exams, ['raw', ...ALL])) {
      const percent = (100 * exact) / questions;
      print({ bench: 'codec_task', codec, task: name, tokens: exams[0]!.prefix.length, questions, exact, percent });
    }
  } finally {
    await engine.close();
  }
}
