import assert from 'node:assert/strict';
import { test } from 'node:test';
import { generateRequestSchema, prefillRequestSchema, samplingSchema } from './generate.ts';
import { heartbeatSchema } from './heartbeat.ts';

const base = {
  requestId: 'req_1',
  organizationId: 'org_1',
  model: 'm',
  input: { kind: 'text', text: 'hello' },
};

test('a minimal request reads with every neutral default', () => {
  const request = generateRequestSchema.parse(base);
  assert.deepEqual(request.cache, { read: true, write: true });
  assert.deepEqual(request.sampling, samplingSchema.parse({}));
  assert.deepEqual(
    [request.sampling.temperature, request.sampling.topP, request.sampling.repetitionPenalty, request.sampling.seed],
    [1, 1, 1, undefined],
  );
  assert.deepEqual([request.stop, request.ignoreEos, request.maxTokens], [[], false, undefined]);
});

test('reading what was written changes nothing', () => {
  const request = generateRequestSchema.parse({
    ...base,
    input: { kind: 'messages', messages: [{ role: 'user', content: 'hi' }] },
    sampling: { temperature: 0, seed: 7, logitBias: [[5, -100]] },
    continuation: { tokens: [1, 2, 4294967295] },
    stop: ['\n'],
    session: 'ses_1',
  });
  assert.deepEqual(generateRequestSchema.parse(JSON.parse(JSON.stringify(request))), request);
});

test('refuses what the engine could not do', () => {
  const bad: unknown[] = [
    { ...base, input: { kind: 'tokens', tokens: [] } },
    { ...base, input: { kind: 'tokens', tokens: [-1] } },
    { ...base, input: { kind: 'tokens', tokens: [1.5] } },
    { ...base, input: { kind: 'messages', messages: [] } },
    { ...base, input: { kind: 'messages', messages: [{ role: 'wizard', content: '' }] } },
    { ...base, maxTokens: 0 },
    { ...base, stop: [''] },
    { ...base, requestId: '' },
    { ...base, sampling: { topP: 0 } },
    { ...base, sampling: { temperature: -1 } },
    { ...base, sampling: { temperature: Number.NaN } },
    { ...base, sampling: { topLogprobs: 21 } },
    { ...base, sampling: { seed: 2 ** 53 } },
    { ...base, continuation: { tokens: [2 ** 32] } },
    { ...base, deadline: 0 },
  ];
  for (const request of bad)
    assert.equal(generateRequestSchema.safeParse(request).success, false, JSON.stringify(request));
});

test('a prefill names its session', () => {
  assert.equal(prefillRequestSchema.safeParse(base).success, false);
  assert.equal(prefillRequestSchema.parse({ ...base, session: 'ses_1' }).session, 'ses_1');
});

test('a heartbeat needs a reachable url, a known state and honest counts', () => {
  const heartbeat = {
    workerId: 'w',
    epoch: 'e',
    pool: 'default',
    url: 'http://127.0.0.1:8790',
    state: 'ready',
    model: { id: 'm', family: 'llama', contextLength: 8192, chat: true, createdAt: 0 },
    load: {
      running: 0,
      waiting: 0,
      maxRunning: 16,
      maxWaiting: 64,
      queuedTokens: 0,
      freeBlocks: 1,
      totalBlocks: 1,
      prefillTokensPerSecond: 0,
    },
  };
  assert.ok(heartbeatSchema.safeParse(heartbeat).success);
  for (const change of [{ url: 'nowhere' }, { state: 'fine' }, { load: { ...heartbeat.load, running: -1 } }])
    assert.equal(heartbeatSchema.safeParse({ ...heartbeat, ...change }).success, false, JSON.stringify(change));
});
