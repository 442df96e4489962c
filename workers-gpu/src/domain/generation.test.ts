import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generation, type GenerationOptions } from './generation.ts';

const EOS = 99;
const encoder = new TextEncoder();
const PIECES: Array<Uint8Array | undefined> = [
  encoder.encode('Hello'),
  encoder.encode(' wor'),
  encoder.encode('ld\n'),
  encoder.encode('\nUser'),
  Uint8Array.of(0xf0, 0x9f),
  Uint8Array.of(0x98, 0x80),
];

function generation(changes: Partial<GenerationOptions> = {}): Generation {
  return new Generation({
    stops: [],
    eosIds: new Set([EOS]),
    ignoreEos: false,
    maxTokens: 100,
    bytesOf: (token) => PIECES[token],
    ...changes,
  });
}

test('ends at the end-of-sequence token, which is not part of the answer', () => {
  const answer = generation();
  assert.deepEqual(answer.accept(0), { index: 0, text: 'Hello', append: true });
  assert.deepEqual(answer.accept(EOS), { index: 1, text: '', append: false, finish: { reason: 'stop' } });
  assert.equal(answer.tokenCount, 1);
});

test('goes on past the end-of-sequence token when told to', () => {
  const answer = generation({ ignoreEos: true });
  assert.equal(answer.accept(EOS).finish, undefined);
  assert.equal(answer.tokenCount, 1);
});

test('ends after maxTokens with everything that was held back', () => {
  const answer = generation({ maxTokens: 2, stops: ['world!'] });
  assert.equal(answer.accept(0).text, 'Hello');
  assert.deepEqual(answer.accept(1), { index: 1, text: ' wor', append: true, finish: { reason: 'length' } });
});

test('ends before a stop string that spans tokens, and keeps only tokens whose text was sent', () => {
  const answer = generation({ stops: ['\n\nUser'] });
  assert.equal(answer.accept(0).text, 'Hello');
  assert.equal(answer.accept(1).text, ' wor');
  assert.equal(answer.accept(2).text, 'ld');
  const last = answer.accept(3);
  assert.deepEqual(last, { index: 3, text: '', append: true, finish: { reason: 'stop', stopSequence: '\n\nUser' } });
  assert.equal(answer.text, 'Hello world');
  assert.deepEqual(answer.kept(), { tokens: 2, text: 'Hello wor' });
});

test('flushes held text with the end of sequence', () => {
  const answer = generation({ stops: ['ld\n\nUser'] });
  answer.accept(1);
  assert.equal(answer.accept(2).text, '');
  assert.equal(answer.accept(EOS).text, 'ld\n');
  assert.deepEqual(answer.kept(), { tokens: 2, text: ' world\n' });
});

test('a character cut off by maxTokens is sent as U+FFFD but not kept', () => {
  const answer = generation({ maxTokens: 2 });
  answer.accept(0);
  assert.equal(answer.accept(4).text, '\ufffd');
  assert.deepEqual(answer.kept(), { tokens: 1, text: 'Hello' });
});

test('a continuation goes on exactly where the first worker stopped, held text included', () => {
  const tokens = [0, 1, 4, 5, 2, 3];
  for (let cut = 0; cut <= tokens.length; cut++) {
    const whole = generation({ stops: ['\n\nUser'], maxTokens: 50 });
    const texts = tokens.map((token) => whole.accept(token).text);
    const second = generation({ stops: ['\n\nUser'], maxTokens: 50 });
    const finish = second.prime(tokens.slice(0, cut));
    assert.equal(finish !== undefined, cut === tokens.length);
    const rest = tokens.slice(cut).map((token) => second.accept(token).text);
    assert.deepEqual(rest, texts.slice(cut));
    assert.equal(second.text, whole.text);
  }
});
