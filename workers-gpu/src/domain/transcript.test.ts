import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ChatMessage } from '@longshore/core';
import { appendMessages, appendText, EMPTY_TRANSCRIPT, newText, withAnswer } from './transcript.ts';

const render = (messages: readonly ChatMessage[], generate: boolean) =>
  messages.map((one) => `<${one.role}>${one.content}</>`).join('') + (generate ? '<assistant>' : '');

test('a second turn only needs the text behind the stored tokens', () => {
  const created = appendMessages(EMPTY_TRANSCRIPT, [{ role: 'user', content: 'doc' }], render, false);
  const stored = { ...created };
  const first = appendMessages(stored, [{ role: 'user', content: 'q1' }], render, true);
  assert.equal(newText(stored, first), '<user>q1</><assistant>');
  const afterFirst = withAnswer(first, 'a1', 'a1');
  const second = appendMessages(afterFirst, [{ role: 'user', content: 'q2' }], render, true);
  assert.equal(newText(afterFirst, second), '</><user>q2</><assistant>');
});

test('what an answer could not keep as tokens comes back as new text', () => {
  const first = appendMessages(EMPTY_TRANSCRIPT, [{ role: 'user', content: 'q' }], render, true);
  const after = withAnswer(first, 'answer!', 'answer');
  const second = appendMessages(after, [{ role: 'user', content: 'r' }], render, true);
  assert.equal(newText(after, second), '!</><user>r</><assistant>');
});

test('says so when the template rewrites what it rendered before', () => {
  const trimming = (messages: readonly ChatMessage[], generate: boolean) =>
    render(
      messages.map((one) => ({ ...one, content: one.content.trim() })),
      generate,
    );
  const first = appendMessages(EMPTY_TRANSCRIPT, [{ role: 'user', content: 'q' }], trimming, true);
  const after = withAnswer(first, 'a ', 'a ');
  assert.equal(newText(after, appendMessages(after, [{ role: 'user', content: 'r' }], trimming, true)), undefined);
});

test('text continues text as it is, and speaks as the user between messages', () => {
  const created = appendText(EMPTY_TRANSCRIPT, 'Once ', render, false);
  const turn = appendText(created, 'upon', render, true);
  assert.equal(newText(created, turn), 'upon');
  const after = withAnswer(turn, ' a time', ' a ti');
  assert.equal(after.prefixText, 'Once upon a time');
  assert.equal(newText(after, appendText(after, '.', render, true)), 'me.');
  const chat = appendMessages(created, [{ role: 'user', content: 'q' }], render, true);
  assert.equal(chat.text, 'Once <user>q</><assistant>');
  assert.equal(appendText({ ...chat }, 'r', render, true).messages.length, 2);
});
