import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { EdgeHarness } from '../../testing/edge-harness.ts';
import { type FakeWorker, wordAt } from '../../testing/fake-worker.ts';
import { jsonOf, readChunks } from '../../testing/sse.ts';

let edge: EdgeHarness;
let worker: FakeWorker;
const PATH = '/v1/chat/completions';
const hello = { model: 'tiny', messages: [{ role: 'user', content: 'Hello there' }] };
const words = (seed: number, count: number) =>
  Array.from({ length: count }, (_, index) => wordAt(seed, index)).join('');

before(async () => {
  edge = await EdgeHarness.start();
  worker = await edge.addWorker('a');
});
beforeEach(() => {
  worker.calls.length = 0;
  worker.cachedTokens = 0;
  edge.pool.heartbeat(worker.beat(), Date.now());
});
after(() => edge.stop());

test('answers in the shape of a chat completion, with usage and the longshore block', async () => {
  worker.cachedTokens = 1;
  const response = await edge.post(PATH, { ...hello, max_tokens: 3, seed: 5 });
  assert.equal(response.status, 200);
  const body = await jsonOf(response);
  assert.match(body.id, /^chatcmpl_/);
  assert.equal(body.object, 'chat.completion');
  assert.equal(body.model, 'tiny');
  assert.ok(Math.abs(body.created - Date.now() / 1000) < 10);
  assert.deepEqual(body.choices, [
    {
      index: 0,
      message: { role: 'assistant', content: words(5, 3), refusal: null },
      logprobs: null,
      finish_reason: 'length',
    },
  ]);
  const { longshore, ...usage } = body.usage;
  assert.deepEqual(usage, {
    prompt_tokens: 2,
    completion_tokens: 3,
    total_tokens: 5,
    prompt_tokens_details: { cached_tokens: 1 },
  });
  const { tier, decision, blocks_hit, blocks_total, bytes, miss } = longshore;
  assert.deepEqual([tier, decision, blocks_hit, blocks_total, bytes, miss], ['s3', 'restore', 0, 3, 0, null]);
  for (const field of ['load_ms', 'recompute_ms_estimate', 'saved_ms']) assert.equal(longshore[field], 0);
  assert.equal(body.longshore.request_id, response.headers.get('x-request-id'));
  assert.equal(body.longshore.worker_id, 'a');
  assert.equal(body.longshore.cache.tier, 's3');
  assert.equal(body.longshore.timings.ttft_ms, 6);
});

test('hands every sampling field to the worker in the protocol’s words', async () => {
  const response = await edge.post(PATH, {
    ...hello,
    temperature: 0.5,
    top_p: 0.9,
    top_k: 40,
    min_p: 0.05,
    presence_penalty: 0.1,
    frequency_penalty: -0.1,
    repetition_penalty: 1.1,
    logit_bias: { '50': -100, '7': 2.5 },
    seed: 9,
    stop: ['END', '\n\n'],
    max_completion_tokens: 4,
    logprobs: true,
    top_logprobs: 2,
    ignore_eos: true,
    cache: { read: false },
    user: 'someone',
    metadata: { a: 'b' },
  });
  assert.equal(response.status, 200, await response.clone().text());
  const { body } = worker.calls[0]!;
  assert.deepEqual(body.sampling, {
    temperature: 0.5,
    topP: 0.9,
    topK: 40,
    minP: 0.05,
    presencePenalty: 0.1,
    frequencyPenalty: -0.1,
    repetitionPenalty: 1.1,
    logitBias: [
      [7, 2.5],
      [50, -100],
    ],
    seed: 9,
    logprobs: true,
    topLogprobs: 2,
  });
  assert.deepEqual(body.stop, ['END', '\n\n']);
  assert.equal(body.maxTokens, 4);
  assert.equal(body.ignoreEos, true);
  assert.deepEqual(body.cache, { read: false, write: true });
  assert.equal(body.organizationId, edge.organization.organizationId);
  assert.ok(body.deadline! > Date.now());
});

test('takes text parts, names, developer messages and nulls as OpenAI’s clients send them', async () => {
  const response = await edge.post(PATH, {
    model: 'tiny',
    messages: [
      { role: 'developer', content: 'Be brief.' },
      {
        role: 'user',
        name: 'ada',
        content: [
          { type: 'text', text: 'one' },
          { type: 'text', text: 'two' },
        ],
      },
      {
        role: 'assistant',
        content: null,
        tool_calls: [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }],
      },
      { role: 'tool', tool_call_id: 'c', content: '4' },
    ],
    stop: null,
    n: null,
    temperature: null,
    tools: [],
    response_format: { type: 'text' },
    store: false,
  });
  assert.equal(response.status, 200, await response.clone().text());
  assert.deepEqual(worker.calls[0]!.body.input, {
    kind: 'messages',
    messages: [
      { role: 'developer', content: 'Be brief.' },
      { role: 'user', name: 'ada', content: 'one\ntwo' },
      {
        role: 'assistant',
        content: '',
        toolCalls: [{ id: 'c', type: 'function', function: { name: 'f', arguments: '{}' } }],
      },
      { role: 'tool', content: '4', toolCallId: 'c' },
    ],
  });
});

test('streams a role, the text, a finish reason with the longshore block, and usage when asked', async () => {
  const response = await edge.post(PATH, {
    ...hello,
    max_tokens: 3,
    seed: 5,
    stream: true,
    stream_options: { include_usage: true },
  });
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type')!, /^text\/event-stream/);
  assert.match(response.headers.get('x-request-id')!, /^req_/);
  const chunks = await readChunks(response);
  assert.deepEqual(chunks[0].choices[0].delta, { role: 'assistant', content: '' });
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join(''), words(5, 3));
  assert.ok(chunks.every((chunk) => chunk.object === 'chat.completion.chunk' && chunk.id === chunks[0].id));
  const [finish, usage] = chunks.slice(-2);
  assert.equal(finish.choices[0].finish_reason, 'length');
  assert.equal(finish.longshore.worker_id, 'a');
  assert.equal(finish.usage, null);
  assert.deepEqual(usage.choices, []);
  assert.equal(usage.usage.completion_tokens, 3);
  assert.deepEqual(usage.usage.longshore.miss, { reason: 'never_seen', first_divergent_token: 0, exact: true });
});

test('streams no usage unless asked', async () => {
  const chunks = await readChunks(await edge.post(PATH, { ...hello, stream: true }));
  assert.ok(chunks.every((chunk) => !('usage' in chunk)));
});

test('reports logprobs in the chat shape, streamed and whole', async () => {
  const request = { ...hello, max_tokens: 2, seed: 1, logprobs: true, top_logprobs: 2 };
  const whole = await jsonOf(await edge.post(PATH, request));
  const { content } = whole.choices[0].logprobs;
  assert.equal(content.length, 2);
  assert.equal(content[0].token, wordAt(1, 0));
  assert.equal(content[0].logprob, -0.5);
  assert.deepEqual(content[0].bytes, [...Buffer.from(wordAt(1, 0))]);
  assert.equal(content[0].top_logprobs[1].token, 'other');
  const chunks = await readChunks(await edge.post(PATH, { ...request, stream: true }));
  assert.deepEqual(
    chunks.flatMap((chunk) => chunk.choices[0].logprobs?.content ?? []),
    content,
  );
});

test('draws n choices with seeds of their own and counts the prompt once', async () => {
  const body = await jsonOf(await edge.post(PATH, { ...hello, n: 8, max_tokens: 2, seed: 3 }));
  assert.deepEqual(
    body.choices.map((choice: { index: number; message: { content: string } }) => [
      choice.index,
      choice.message.content,
    ]),
    Array.from({ length: 8 }, (_, index) => [index, words(3 + index, 2)]),
  );
  assert.equal(body.usage.prompt_tokens, 2);
  assert.equal(body.usage.completion_tokens, 16);
  assert.equal(new Set(worker.calls.map((call) => call.body.requestId)).size, 8);
});

test('streams n choices side by side', async () => {
  const chunks = await readChunks(await edge.post(PATH, { ...hello, n: 3, max_tokens: 2, seed: 3, stream: true }));
  for (const index of [0, 1, 2]) {
    const own = chunks.filter((chunk) => chunk.choices[0].index === index);
    assert.equal(own.map((chunk) => chunk.choices[0].delta.content ?? '').join(''), words(3 + index, 2));
    assert.equal(own.at(-1).choices[0].finish_reason, 'length');
  }
});

test('gives token ids beside the text when asked', async () => {
  const request = { ...hello, max_tokens: 2, return_token_ids: true };
  assert.deepEqual((await jsonOf(await edge.post(PATH, request))).choices[0].token_ids, [100, 101]);
  const chunks = await readChunks(await edge.post(PATH, { ...request, stream: true }));
  assert.deepEqual(
    chunks.flatMap((chunk) => chunk.choices[0].token_ids ?? []),
    [100, 101],
  );
});

const REFUSED: [name: string, body: unknown, param: string | null, message: RegExp][] = [
  ['no messages', { model: 'tiny' }, 'messages', /messages/],
  ['empty messages', { model: 'tiny', messages: [] }, 'messages', /at least one/],
  ['a message without content', { model: 'tiny', messages: [{ role: 'user' }] }, 'messages[0].content', /required/],
  ['an unknown role', { model: 'tiny', messages: [{ role: 'robot', content: 'x' }] }, 'messages[0].role', /role/],
  [
    'an image part',
    { model: 'tiny', messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] },
    'messages[0].content',
    /text parts/,
  ],
  ['tools', { ...hello, tools: [{ type: 'function', function: { name: 'f' } }] }, 'tools', /not supported yet/],
  ['JSON mode', { ...hello, response_format: { type: 'json_object' } }, 'response_format', /not supported yet/],
  ['a hot temperature', { ...hello, temperature: 3 }, 'temperature', /temperature/],
  ['nine choices', { ...hello, n: 9 }, 'n', /n:/],
  ['five stops', { ...hello, stop: ['1', '2', '3', '4', '5'] }, 'stop', /up to 4/],
  ['max_tokens 0', { ...hello, max_tokens: 0 }, 'max_tokens', /max_tokens/],
  ['top_logprobs alone', { ...hello, top_logprobs: 2 }, 'top_logprobs', /logprobs/],
  ['stream_options without stream', { ...hello, stream_options: { include_usage: true } }, 'stream_options', /stream/],
  ['logit_bias by text', { ...hello, logit_bias: { word: 1 } }, 'logit_bias.word', /token ids/],
  ['a misspelt field', { ...hello, max_token: 5 }, 'max_token', /Unrecognized/],
  ['a list', [], null, /request body/],
];

for (const [name, body, param, message] of REFUSED) {
  test(`refuses ${name}, naming the field`, async () => {
    const response = await edge.post(PATH, body);
    assert.equal(response.status, 400);
    const { error } = await jsonOf(response);
    assert.equal(error.type, 'invalid_request_error');
    assert.equal(error.code, 'invalid_request');
    assert.equal(error.param, param);
    assert.match(error.message, message);
    assert.equal(worker.calls.length, 0);
  });
}
