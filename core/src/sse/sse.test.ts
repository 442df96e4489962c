import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeSse, SseDecoder, type SseEvent } from './sse.ts';

const text =
  ': keep-alive\r\n\r\nevent: token\r\ndata: {"a":1}\r\n\r\ndata: two\ndata: lines\n\ndata:tight\rdata\r\rid: 7\nretry: 5\ndata: é😀\n\nevent: lonely\n\ndata: [DONE]\n\n';
const events: SseEvent[] = [
  { event: 'token', data: '{"a":1}' },
  { data: 'two\nlines' },
  { data: 'tight\n' },
  { data: 'é😀' },
  { data: '[DONE]' },
];

test('reads the same events whole, cut in two anywhere, and character by character', () => {
  assert.deepEqual(new SseDecoder().push(text), events);
  for (let cut = 0; cut <= text.length; cut++) {
    const decoder = new SseDecoder();
    assert.deepEqual([...decoder.push(text.slice(0, cut)), ...decoder.push(text.slice(cut))], events, `cut at ${cut}`);
  }
  const decoder = new SseDecoder();
  assert.deepEqual(
    text.split('').flatMap((character) => decoder.push(character)),
    events,
  );
});

test('reads the same events cut in three anywhere', () => {
  const short = 'event: a\r\ndata: b\r\n\r\ndata: c\n\n';
  const expected = [{ event: 'a', data: 'b' }, { data: 'c' }];
  for (let first = 0; first <= short.length; first++)
    for (let second = first; second <= short.length; second++) {
      const decoder = new SseDecoder();
      const parts = [short.slice(0, first), short.slice(first, second), short.slice(second)];
      assert.deepEqual(
        parts.flatMap((part) => decoder.push(part)),
        expected,
      );
    }
});

test('reads back what it encodes, lines and all', () => {
  for (const event of [{ data: 'x' }, { event: 'e', data: 'a\nb\n' }, { data: '' }, { data: ' led by a space' }])
    assert.deepEqual(new SseDecoder().push(encodeSse(event)), [event]);
});

test('an event without its blank line is not delivered', () => {
  assert.deepEqual(new SseDecoder().push('data: half\n'), []);
});

test('an event over 4 MiB is refused however it arrives', () => {
  const whole = new SseDecoder();
  assert.throws(() => whole.push(`data: ${'x'.repeat(4 * 1024 * 1024 + 1)}`), RangeError);
  const lines = new SseDecoder();
  const line = `data: ${'x'.repeat(1024 * 1024)}\n`;
  assert.throws(() => {
    for (let index = 0; index < 5; index++) lines.push(line);
  }, RangeError);
});
