import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { open } from '@longshore/native';
import { ask, blocksFor } from './ask.ts';
import { findModel } from './model.ts';
import { Random } from './random.ts';
import { PAIR_TASKS } from './tasks/pairs.ts';
import { PROSE_TASKS } from './tasks/prose.ts';

/** The tiny random model that the repository carries speaks bytes of its own: enough to see that questions do not disturb one another. */
const fixture = new URL('../../infra/fixture-model', import.meta.url).pathname;

test('a question asked of a shared prefix in a batch continues as when it is asked alone', async () => {
  assert.ok(existsSync(fixture));
  const dialect = {
    name: 'pairs' as const,
    begin: [1],
    encode: async (text: string) => [...new TextEncoder().encode(text)],
    decode: (tokens: number[]) => tokens.map((token) => `<${token}>`).join(''),
    stop: 'never',
  };
  const task = PAIR_TASKS.find(({ name }) => name === 'shared_multi_turn')!;
  const context = await task.context({ dialect, random: new Random('1'), length: 256, questions: 200 });
  const engine = await open({ model: fixture, kvBlocks: blocksFor(context), maxBatchTokens: 2048, threads: 2 });
  try {
    const said = async (dialogues: typeof context.dialogues): Promise<string[]> => {
      const texts: string[] = [];
      const listening = { ...dialect, decode: (tokens: number[]) => dialect.decode(tokens) };
      const watched = dialogues.map((turns) => turns.map((turn) => ({ ...turn })));
      // Each step's token shows in the texts that are scored: record the last one of every turn.
      listening.decode = (tokens) => {
        const text = dialect.decode(tokens);
        if (tokens.length === watched[0]![0]!.maxTokens) texts.push(text);
        return text;
      };
      await ask(engine, listening, { ...context, dialogues: watched }, '0');
      return texts;
    };
    const together = await said(context.dialogues);
    const alone: string[] = [];
    for (const dialogue of context.dialogues.slice(0, 3)) alone.push(...(await said([dialogue])));
    assert.equal(together.length, context.dialogues.flat().length);
    for (const text of alone) assert.ok(together.includes(text), text);
  } finally {
    await engine.close();
  }
});

test('dense attention answers the needle model’s questions, wherever they stand in the prompt', async (t) => {
  const model = await findModel('needle');
  if (model === undefined) return t.diagnostic('not run: no needle model; set LONGSHORE_EVAL_NEEDLE');
  for (const task of PAIR_TASKS) {
    const context = await task.context({
      dialect: model.dialect,
      random: new Random('2'),
      length: 2048,
      questions: 20,
    });
    const engine = await open({ model: model.path, kvBlocks: blocksFor(context), maxBatchTokens: 2048 });
    const { outcomes } = await ask(engine, model.dialect, context, '0');
    await engine.close();
    assert.ok(outcomes.length >= 20, task.name);
    assert.ok(
      outcomes.filter(({ correct }) => correct).length >= outcomes.length - 1,
      `${task.name}: ${outcomes.filter(({ correct }) => correct).length} of ${outcomes.length}`,
    );
  }
});

test('questions that go in a token a step are decoded by the policy, and answered like questions that go in whole', async (t) => {
  const model = await findModel('needle');
  if (model === undefined) return t.diagnostic('not run: no needle model; set LONGSHORE_EVAL_NEEDLE');
  const task = PAIR_TASKS.find(({ name }) => name === 'kv_retrieval')!;
  const context = await task.context({ dialect: model.dialect, random: new Random('4'), length: 2048, questions: 20 });
  const decodePolicy = JSON.stringify({ type: 'sketch_topk', min_tokens: 1024, measure_every: 1 });
  const engine = await open({ model: model.path, kvBlocks: blocksFor(context), maxBatchTokens: 2048, decodePolicy });
  const whole = await ask(engine, model.dialect, context, '0');
  const decoded = await ask(engine, model.dialect, context, '0', true);
  const { heads, layers } = engine.info;
  await engine.close();
  assert.ok(decoded.outcomes.filter(({ correct }) => correct).length >= 19);
  assert.ok(whole.outcomes.filter(({ correct }) => correct).length >= 19);
  // Six question tokens and at least three of the answer's four.
  assert.ok(decoded.ask.decodeMeasured! >= 20 * 9 * heads * layers, String(decoded.ask.decodeMeasured));
  assert.ok(decoded.ask.decodeMeasured! > whole.ask.decodeMeasured!);
  assert.ok(decoded.ask.decodeMassKept! > 0.9 * decoded.ask.decodeMeasured!);
});

test('a real model finds numbers in prose far more often than chance', async (t) => {
  const model = await findModel('smollm2');
  if (model === undefined) return t.diagnostic('not run: no SmolLM2; set LONGSHORE_TEST_MODEL');
  const task = PROSE_TASKS.find(({ name }) => name === 'needle_single')!;
  const context = await task.context({ dialect: model.dialect, random: new Random('3'), length: 640, questions: 20 });
  const engine = await open({ model: model.path, kvBlocks: blocksFor(context), maxBatchTokens: 2048 });
  const { outcomes } = await ask(engine, model.dialect, context, '0');
  await engine.close();
  // Five-digit numbers: chance is nothing; mixing up the context's own six would give a sixth.
  assert.ok(outcomes.filter(({ correct }) => correct).length >= 2, JSON.stringify(outcomes));
});
