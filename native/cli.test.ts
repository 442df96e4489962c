import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openTiny, someTokens, tinyModel } from './tiny-model.ts';

const program = fileURLToPath(new URL('./build/longshore-native', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'longshore-cli-'));
after(() => rmSync(folder, { recursive: true }));

interface Outcome {
  status: number;
  lines: Array<Record<string, unknown>>;
  error: string;
}

/** Runs longshore-native without any environment: it needs neither Node nor variables. */
function run(...args: string[]): Promise<Outcome> {
  return new Promise((done) => {
    execFile(program, args, { env: {}, timeout: 60_000 }, (error, stdout, stderr) => {
      const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      done({ status, lines: lines.map((line) => JSON.parse(line)), error: stderr });
    });
  });
}

/** Greedy continuation through the addon. */
async function continuation(prompt: Uint32Array, count: number): Promise<number[]> {
  const engine = await openTiny();
  const tokens: number[] = [];
  let feed = prompt;
  for (let position = 0; tokens.length < count; feed = Uint32Array.of(tokens.at(-1)!)) {
    const blockTable = Uint32Array.of(0, 1, 2);
    const [output] = await engine.step([{ tokens: feed, position, blockTable, sample: true }]);
    position += feed.length;
    tokens.push(output!.token!);
  }
  await engine.close();
  return tokens;
}

test('info describes the model in one JSON object', async () => {
  const { status, lines } = await run('info', '--model', tinyModel);
  assert.equal(status, 0);
  assert.equal(lines.length, 1);
  assert.equal(lines[0]!.family, 'llama');
  assert.equal(lines[0]!.vocab, 160);
});

test('generate continues as the addon does, from a list or a file of ids, in any batch size', async () => {
  const prompt = someTokens(150);
  const expected = await continuation(prompt, 12);
  const list = [...prompt].join(',');
  const file = join(folder, 'prompt.txt');
  writeFileSync(file, [...prompt].join('\n'));
  for (const args of [
    ['--tokens', list],
    ['--tokens', file],
    ['--tokens', file, '--batch', '16', '--threads', '1'],
  ]) {
    const { status, lines } = await run('generate', '--model', tinyModel, '--max', '12', '--ignore-eos', ...args);
    assert.equal(status, 0);
    assert.deepEqual(lines[0]!.tokens, expected);
    assert.equal(lines[0]!.prompt_tokens, 150);
  }
});

test('generate draws the same tokens for the same seed and others for another', async () => {
  const draw = async (seed: string) =>
    (
      await run(
        'generate',
        '--model',
        tinyModel,
        '--tokens',
        '5,6,7',
        '--max',
        '20',
        '--temperature',
        '1.5',
        '--seed',
        seed,
      )
    ).lines[0]!.tokens;
  assert.deepEqual(await draw('3'), await draw('3'));
  assert.notDeepEqual(await draw('3'), await draw('4'));
});

test('bench prints a line for prefill and one for decode per length', async () => {
  const { status, lines } = await run(
    ...[
      'bench',
      '--model',
      tinyModel,
      '--prefill',
      '16,64',
      '--decode',
      '4',
      '--repeat',
      '2',
      '--threads',
      '1',
      '--kv',
      'f32',
    ],
  );
  assert.equal(status, 0);
  assert.deepEqual(
    lines.map((line) => [line.bench, line.n, line.tokens, line.kv_dtype, line.threads]),
    [
      ['prefill', 16, 16, 'f32', 1],
      ['decode', 16, 4, 'f32', 1],
      ['prefill', 64, 64, 'f32', 1],
      ['decode', 64, 4, 'f32', 1],
    ],
  );
  for (const line of lines) {
    const rate = (1000 * Number(line.tokens)) / Number(line.ms);
    // Both are rounded: milliseconds to a thousandth, the rate to a tenth.
    assert.ok(Math.abs(Number(line.tokens_per_s) - rate) <= (0.001 * rate) / Number(line.ms) + 0.1);
  }
});

test('eval measures the likelihood that the logits give', async () => {
  const tokens = someTokens(40);
  const engine = await openTiny();
  const [output] = await engine.step([
    { tokens: tokens.slice(0, 39), position: 0, blockTable: Uint32Array.of(0), wantLogits: true },
  ]);
  await engine.close();
  let loss = 0;
  for (let index = 0; index < 39; index++) {
    const row = output!.logits!.subarray(index * 160, (index + 1) * 160);
    const max = Math.max(...row);
    const sum = row.reduce((total, logit) => total + Math.exp(logit - max), 0);
    loss += max + Math.log(sum) - row[tokens[index + 1]!]!;
  }
  const { lines } = await run('eval', '--model', tinyModel, '--perplexity', [...tokens].join(','));
  assert.ok(Math.abs(Number(lines[0]!.loss) - loss / 39) < 1e-4);
  assert.equal(lines[0]!.tokens, 39);
});

test('eval counts exact answers and only those', async () => {
  const prompt = someTokens(30);
  const answer = await continuation(prompt, 3);
  const wrong = [answer[0]!, (answer[1]! + 1) % 160, answer[2]!];
  const file = join(folder, 'questions.jsonl');
  const lineOf = (ids: number[]) => JSON.stringify({ prompt_ids: [...prompt], answer_ids: ids });
  writeFileSync(file, `${lineOf(answer)}\n${lineOf(wrong)}\n${lineOf(answer.slice(0, 1))}\n`);
  const { lines } = await run('eval', '--model', tinyModel, '--retrieval', file);
  assert.deepEqual([lines[0]!.questions, lines[0]!.exact], [3, 2]);
});

test('every mistake is one line on standard error and a status of its kind', async () => {
  const mistakes: Array<[number, RegExp, string[]]> = [
    [2, /usage/, []],
    [2, /usage/, ['frobnicate']],
    [2, /unknown option --modle/, ['info', '--modle', 'x']],
    [2, /--threads needs an integer/, ['info', '--model', tinyModel, '--threads', 'many']],
    [2, /expected --name/, ['info', 'model']],
    [2, /needs --tokens/, ['generate', '--model', tinyModel]],
    [2, /either/, ['eval', '--model', tinyModel]],
    [1, /not_found/, ['info', '--model', '/nowhere']],
    [1, /not_found/, ['generate', '--model', tinyModel, '--tokens', '/nowhere']],
    [1, /corrupt/, ['generate', '--model', tinyModel, '--tokens', '1,x']],
    [2, /invalid_argument/, ['generate', '--model', tinyModel, '--tokens', '160']],
    [1, /unsupported/, ['info', '--model', tinyModel, '--isa', 'avx1024']],
  ];
  for (const [status, message, args] of mistakes) {
    const outcome = await run(...args);
    assert.equal(outcome.status, status, args.join(' '));
    assert.match(outcome.error, message);
    if (!outcome.error.startsWith('usage')) assert.equal(outcome.error.trim().split('\n').length, 1);
  }
});
