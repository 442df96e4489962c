import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { startTestPlatform, type TestPlatform } from '../harness/platform.ts';
import { requestsRunning, untilIdle } from './engine-idle.ts';

/** OpenAI's own client, changed in nothing but baseURL and key, against the real platform. */
let platform: TestPlatform;
let openai: OpenAI;
let model: string;

before(async () => {
  platform = await startTestPlatform({ model: 'smollm2' });
  openai = new OpenAI({ baseURL: platform.baseUrl, apiKey: platform.apiKey, maxRetries: 0 });
  model = platform.model.name;
});
after(() => platform?.[Symbol.asyncDispose]());

const messages = [{ role: 'user' as const, content: 'Say the names of three colours.' }];

test('lists models and retrieves one', async () => {
  const ids: string[] = [];
  for await (const listed of openai.models.list()) ids.push(listed.id);
  assert.deepEqual(ids, [model]);
  assert.equal((await openai.models.retrieve(model)).object, 'model');
});

test('answers a chat', async () => {
  const answer = await openai.chat.completions.create({ model, messages, max_tokens: 24, temperature: 0 });
  assert.ok(answer.choices[0]!.message.content!.trim().length > 0);
  assert.equal(answer.choices[0]!.message.role, 'assistant');
  assert.ok(['stop', 'length'].includes(answer.choices[0]!.finish_reason));
  assert.ok(answer.usage!.prompt_tokens > 5);
  assert.ok(answer.usage!.completion_tokens > 0);
  assert.equal(answer.usage!.total_tokens, answer.usage!.prompt_tokens + answer.usage!.completion_tokens);
  assert.equal(typeof answer.usage!.prompt_tokens_details!.cached_tokens, 'number');
});

test('streams a chat, the same text as unstreamed, with usage', async () => {
  const request = { model, messages, max_tokens: 24, temperature: 0 };
  const whole = await openai.chat.completions.create(request);
  const stream = await openai.chat.completions.create({
    ...request,
    stream: true,
    stream_options: { include_usage: true },
  });
  let text = '';
  let finish: string | null = null;
  let completionTokens = 0;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? '';
    finish = chunk.choices[0]?.finish_reason ?? finish;
    completionTokens = chunk.usage?.completion_tokens ?? completionTokens;
  }
  assert.equal(text, whole.choices[0]!.message.content);
  assert.equal(finish, whole.choices[0]!.finish_reason);
  assert.equal(completionTokens, whole.usage!.completion_tokens);
});

test('feeds the client’s own stream helper', async () => {
  const runner = openai.chat.completions.stream({ model, messages, max_tokens: 8, temperature: 0 });
  const final = await runner.finalChatCompletion();
  assert.ok(final.choices[0]!.message.content!.length > 0);
});

test('repeats itself for a seed and reports logprobs', async () => {
  const request = { model, messages, max_tokens: 12, temperature: 1, seed: 7, logprobs: true, top_logprobs: 3 };
  const [first, second] = [
    await openai.chat.completions.create(request),
    await openai.chat.completions.create(request),
  ];
  assert.equal(first.choices[0]!.message.content, second.choices[0]!.message.content);
  const content = first.choices[0]!.logprobs!.content!;
  assert.ok(content.length > 0);
  for (const token of content) {
    assert.ok(token.logprob <= 0);
    assert.ok(token.top_logprobs.length === 3);
    assert.deepEqual(new TextDecoder().decode(Uint8Array.from(token.bytes!)), token.token);
  }
});

test('ends at a stop string, which is not part of the answer', async () => {
  const request = { model, prompt: 'One, two, three, four, five,', max_tokens: 24, temperature: 0 };
  const free = (await openai.completions.create(request)).choices[0]!.text;
  const stop = free.slice(6, 9);
  const stopped = (await openai.completions.create({ ...request, stop })).choices[0]!;
  assert.equal(stopped.finish_reason, 'stop');
  assert.equal(stopped.text, free.slice(0, free.indexOf(stop)));
});

test('draws several choices', async () => {
  const answer = await openai.chat.completions.create({ model, messages, max_tokens: 6, n: 3, seed: 1 });
  assert.deepEqual(
    answer.choices.map(({ index }) => index),
    [0, 1, 2],
  );
});

test('completes texts and streams a completion', async () => {
  const whole = await openai.completions.create({
    model,
    prompt: ['The capital of France is', 'Two plus two is'],
    max_tokens: 5,
    temperature: 0,
  });
  assert.equal(whole.choices.length, 2);
  const stream = await openai.completions.create({
    model,
    prompt: 'The capital of France is',
    max_tokens: 5,
    temperature: 0,
    stream: true,
  });
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.text ?? '';
  assert.equal(text, whole.choices[0]!.text);
});

test('reuses a prefix that another request of the organization computed', async () => {
  const long = [
    { role: 'user' as const, content: `${'The quick brown fox jumps over the lazy dog. '.repeat(60)}What jumps?` },
  ];
  await openai.chat.completions.create({ model, messages: long, max_tokens: 2 });
  const again = await openai.chat.completions.create({ model, messages: long, max_tokens: 2 });
  assert.ok(again.usage!.prompt_tokens_details!.cached_tokens! >= 256);
});

test('a client that aborts in mid-stream leaves the engine idle within a second', async () => {
  const stream = await openai.chat.completions.create({
    model,
    messages,
    max_tokens: 2000,
    stream: true,
    logit_bias: { 2: -100 },
  });
  let chunks = 0;
  for await (const _ of stream) {
    if (++chunks < 5) continue;
    assert.equal(await requestsRunning(platform), 1);
    stream.controller.abort();
    break;
  }
  const idle = await untilIdle(platform, 1000);
  assert.ok(idle < 1000, `idle after ${idle} ms`);
});

test('a client that aborts during a long prefill leaves the engine idle within a second', async () => {
  const text = Array.from({ length: 3000 }, (_, index) => `word${index}`)
    .join(' ')
    .slice(0, 12_000);
  const stream = await openai.completions.create({ model, prompt: text, max_tokens: 5, stream: true });
  assert.equal(await requestsRunning(platform), 1);
  stream.controller.abort();
  const idle = await untilIdle(platform, 1000);
  assert.ok(idle < 1000, `idle after ${idle} ms`);
});

test('raises the client’s own error types', async () => {
  const stranger = new OpenAI({ baseURL: platform.baseUrl, apiKey: 'sk-wrong', maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  await assert.rejects(openai.chat.completions.create({ model: 'gpt-none', messages }), OpenAI.NotFoundError);
  await assert.rejects(openai.chat.completions.create({ model, messages: [] }), OpenAI.BadRequestError);
});
