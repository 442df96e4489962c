import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { EdgeHarness } from '../../testing/edge-harness.ts';
import { type FakeWorker, wordAt } from '../../testing/fake-worker.ts';
import { jsonOf, readChunks } from '../../testing/sse.ts';

let edge: EdgeHarness;
let worker: FakeWorker;
const PATH = '/v1/completions';
const words = (seed: number, count: number) =>
  Array.from({ length: count }, (_, index) => wordAt(seed, index)).join('');

before(async () => {
  edge = await EdgeHarness.start();
  worker = await edge.addWorker('a');
});
beforeEach(() => {
  worker.calls.length = 0;
  edge.pool.heartbeat(worker.beat(), Date.now());
});
after(() => edge.stop());

test('completes a text, 16 tokens unless told otherwise', async () => {
  const response = await edge.post(PATH, { model: 'tiny', prompt: 'Once upon a time', seed: 2 });
  assert.equal(response.status, 200);
  const body = await jsonOf(response);
  assert.match(body.id, /^cmpl_/);
  assert.equal(body.object, 'text_completion');
  assert.deepEqual(body.choices, [{ index: 0, text: words(2, 16), logprobs: null, finish_reason: 'length' }]);
  assert.deepEqual([body.usage.prompt_tokens, body.usage.completion_tokens], [4, 16]);
});

test('takes strings, token ids and lists of both, n choices each, ordered by prompt', async () => {
  const several = await jsonOf(
    await edge.post(PATH, { model: 'tiny', prompt: ['a', 'b c'], n: 2, seed: 2, max_tokens: 1 }),
  );
  assert.deepEqual(
    several.choices.map((choice: { index: number; text: string }) => [choice.index, choice.text]),
    [0, 1, 2, 3].map((index) => [index, words(2 + (index % 2), 1)]),
  );
  assert.equal(several.usage.prompt_tokens, 3);
  assert.equal(several.usage.longshore.miss.reason, 'never_seen');
  worker.calls.length = 0;
  await edge.post(PATH, { model: 'tiny', prompt: [1, 2, 3], max_tokens: 1 });
  await edge.post(PATH, { model: 'tiny', prompt: [[4], [5, 6]], max_tokens: 1 });
  const inputs = worker.calls.map((call) => call.body.input);
  assert.deepEqual(inputs, [
    { kind: 'tokens', tokens: [1, 2, 3] },
    { kind: 'tokens', tokens: [4] },
    { kind: 'tokens', tokens: [5, 6] },
  ]);
});

test('echoes the prompt before the answer, streamed and whole', async () => {
  const request = { model: 'tiny', prompt: ['Say: ', 'Go: '], echo: true, max_tokens: 2, seed: 1 };
  const whole = await jsonOf(await edge.post(PATH, request));
  assert.deepEqual(
    whole.choices.map((choice: { text: string }) => choice.text),
    [`Say: ${words(1, 2)}`, `Go: ${words(1, 2)}`],
  );
  const chunks = await readChunks(await edge.post(PATH, { ...request, stream: true }));
  for (const index of [0, 1]) {
    const text = chunks.filter((chunk) => chunk.choices[0].index === index).map((chunk) => chunk.choices[0].text);
    assert.equal(text.join(''), whole.choices[index].text);
  }
});

test('reports logprobs in the completions shape with offsets into the text', async () => {
  const request = { model: 'tiny', prompt: 'x', logprobs: 2, max_tokens: 3, seed: 1 };
  const whole = await jsonOf(await edge.post(PATH, request));
  const { logprobs, text } = whole.choices[0];
  assert.deepEqual(
    logprobs.tokens,
    [0, 1, 2].map((index) => wordAt(1, index)),
  );
  assert.deepEqual(logprobs.token_logprobs, [-0.5, -0.5, -0.5]);
  assert.equal(logprobs.top_logprobs[0].other, -2);
  for (const [index, offset] of logprobs.text_offset.entries())
    assert.ok(text.startsWith(wordAt(1, index), offset), `offset ${offset}`);
  const chunks = await readChunks(await edge.post(PATH, { ...request, stream: true }));
  assert.deepEqual(
    chunks.flatMap((chunk) => chunk.choices[0].logprobs?.text_offset ?? []),
    logprobs.text_offset,
  );
});

test('streams text with usage at the end when asked', async () => {
  const chunks = await readChunks(
    await edge.post(PATH, {
      model: 'tiny',
      prompt: 'x y',
      max_tokens: 2,
      seed: 1,
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.text ?? '').join(''), words(1, 2));
  assert.deepEqual([chunks.at(-1).usage.prompt_tokens, chunks.at(-1).usage.completion_tokens], [2, 2]);
});

const REFUSED: [name: string, body: Record<string, unknown>, param: string][] = [
  ['no prompt', {}, 'prompt'],
  ['a prompt of mixed kinds', { prompt: ['a', 1] }, 'prompt'],
  ['echo of token ids', { prompt: [1, 2], echo: true }, 'echo'],
  ['echo with logprobs', { prompt: 'x', echo: true, logprobs: 1 }, 'echo'],
  ['too many sequences', { prompt: Array(9).fill('x'), n: 8 }, 'n'],
  ['a suffix', { prompt: 'x', suffix: 'end' }, 'suffix'],
  ['best_of', { prompt: 'x', best_of: 3 }, 'best_of'],
];

for (const [name, fields, param] of REFUSED) {
  test(`refuses ${name}, naming the field`, async () => {
    const response = await edge.post(PATH, { model: 'tiny', ...fields });
    assert.equal(response.status, 400);
    assert.equal((await jsonOf(response)).error.param, param);
    assert.equal(worker.calls.length, 0);
  });
}
