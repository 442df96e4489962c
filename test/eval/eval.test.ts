import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readArguments } from './arguments.ts';
import { scores } from './cell.ts';
import { compose } from './compose.ts';
import { Random } from './random.ts';
import { contains, outcomesOf } from './score.ts';
import type { Dialect, Task } from './task.ts';
import { PAIR_TASKS } from './tasks/pairs.ts';
import { PROSE_TASKS } from './tasks/prose.ts';

/** One byte is one token, as in the needle model. */
const BYTES: Omit<Dialect, 'name'> = {
  begin: [1],
  encode: async (text) => [...new TextEncoder().encode(text)],
  decode: (tokens) => new TextDecoder().decode(Uint8Array.from(tokens)),
  stop: ';',
};

const make = (task: Task, name: Dialect['name'], seed: string, length = 8192) =>
  task.context({ dialect: { ...BYTES, name }, random: new Random(seed), length, questions: 20 });

test('every task fills its context exactly, asks about what stands in it, and is the same for the same seed', async () => {
  for (const [name, tasks] of [
    ['pairs', PAIR_TASKS],
    ['prose', PROSE_TASKS],
  ] as const) {
    for (const task of tasks) {
      const context = await make(task, name, 'a');
      assert.equal(context.tokens.length, 8192, task.name);
      const text = BYTES.decode(context.tokens);
      const questions = context.dialogues.flat();
      assert.ok(questions.length + context.probes.length > 0, task.name);
      for (const { answers, depth } of questions) {
        assert.ok(depth >= 0 && depth < 1, task.name);
        for (const answer of answers) assert.ok(contains(text, answer), `${task.name}: ${answer}`);
      }
      assert.deepEqual(await make(task, name, 'a'), context, task.name);
      assert.notDeepEqual((await make(task, name, 'b')).tokens, context.tokens, task.name);
    }
  }
});

test('a pair question has one right answer: the value that its key has in the context', async () => {
  for (const task of PAIR_TASKS) {
    const { tokens, dialogues, probes } = await make(task, 'pairs', 'c');
    const text = BYTES.decode(tokens);
    const stated = new Map(
      [...text.matchAll(/(?<!\?)(?<![A-Za-z0-9])([A-Za-z0-9]{4})=([A-Za-z0-9]{4});/g)].map((pair) => [
        pair[1],
        pair[2],
      ]),
    );
    for (const { prompt, answers } of dialogues.flat())
      assert.equal(stated.get(BYTES.decode(prompt).slice(1, 5)), answers[0], task.name);
    for (const { position, answer } of probes) {
      assert.deepEqual(tokens.slice(position + 1, position + 1 + answer.length), answer);
      assert.equal(stated.get(text.slice(position - 4, position)), BYTES.decode(answer), task.name);
      assert.ok(
        text.lastIndexOf(`${text.slice(position - 4, position)}=`, position - 5) >= 0,
        'the pair stands before its question',
      );
    }
  }
});

test('needles are spread over the whole context', async () => {
  const { tokens, starts } = await compose(new Random('x'), 4096, [1], Array(20).fill([7, 7, 7]), async () => [
    2, 2, 2, 2, 2,
  ]);
  assert.equal(tokens.length, 4096);
  for (let fifth = 0; fifth < 5; fifth++) {
    assert.ok(starts.filter((at) => Math.floor((5 * at) / 4096) === fifth).length >= 2, `fifth ${fifth}: ${starts}`);
  }
  for (const at of starts) assert.deepEqual(tokens.slice(at, at + 3), [7, 7, 7]);
  await assert.rejects(
    compose(new Random('x'), 8, [1], [[1, 2, 3, 4, 5, 6, 7, 8]], async () => [2]),
    /have|has 8/,
  );
});

test('an answer counts only whole, and lists count each of their answers', () => {
  assert.ok(contains(' 48213.', '48213'));
  assert.ok(!contains(' 148213', '48213'));
  assert.ok(!contains(' 482130', '48213'));
  const question = { prompt: [], depth: 0.5, maxTokens: 1 };
  assert.deepEqual(
    outcomesOf({ ...question, answers: ['a', 'b'] }, 'b', 'q', 1).map((one) => one.correct),
    [false],
  );
  assert.deepEqual(
    outcomesOf({ ...question, answers: ['a', 'b'], countEach: true }, 'b', 'q', 1).map((one) => one.correct),
    [false, true],
  );
});

test('what a policy keeps is counted over the questions that dense attention answers', () => {
  const outcome = (id: string, correct: boolean, depth: number, turn = 1) => ({ id, correct, depth, turn });
  const cell = scores(
    [outcome('1', true, 0), outcome('2', false, 0.99), outcome('3', true, 0.5, 2), outcome('4', true, 0.5)],
    new Set(['1', '2', '3']),
  );
  assert.equal(cell.accuracy, 0.75);
  assert.equal(cell.kept, 0.6667);
  assert.deepEqual(
    cell.by_depth.map(({ at, correct }) => [at, correct]),
    [
      ['0.0', 1],
      ['0.4', 2],
      ['0.8', 0],
    ],
  );
  assert.deepEqual(
    cell.by_turn.map(({ at, questions }) => [at, questions]),
    [
      ['1', 3],
      ['2', 1],
    ],
  );
  assert.equal(scores([], undefined).kept, null);
});

test('lengths and options are checked before anything runs', () => {
  assert.deepEqual(readArguments(['--lengths', '1K,131072']).lengths, [1024, 131072]);
  assert.throws(() => readArguments(['--lengths', '1000']), /multiple of 128/);
  assert.throws(() => readArguments(['--questions', '0']), /whole number/);
  assert.throws(() => readArguments(['--nonsense']), /usage/);
});
