import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EMPTY_TRANSCRIPT, type Transcript } from './transcript.ts';
import { cutToTokens, cutToTurn, type TurnMark, withMark } from './turn-marks.ts';

const spell = (tokens: readonly number[]) => tokens.map((token) => String.fromCharCode(97 + token)).join('');
const chat = (count: number, text: string): Transcript => ({
  prefixText: '',
  messages: Array.from({ length: count }, (_, index) => ({ role: 'user' as const, content: `m${index}` })),
  text,
});

function conversation() {
  const tokens = [0, 1, 2, 3, 4, 5, 6, 7];
  let marks: TurnMark[] = withMark([], 0, 3, chat(1, 'abc'));
  marks = withMark(marks, 3, 6, chat(3, 'abcdef'));
  marks = withMark(marks, 6, 8, chat(5, 'abcdefgh'));
  return { tokens, transcript: chat(5, 'abcdefgh'), marks };
}

test('a cut to a turn leaves exactly its tokens, messages and text', () => {
  const session = conversation();
  for (const [turn, tokens, messages] of [
    [0, 3, 1],
    [1, 6, 3],
    [2, 8, 5],
  ] as const) {
    const cut = cutToTurn(session, turn, spell)!;
    assert.deepEqual([cut.tokens.length, cut.transcript.messages.length], [tokens, messages]);
    assert.equal(cut.transcript.text, spell(cut.tokens));
    assert.equal(cut.marks.length, turn + 1);
  }
});

test('a cut to tokens that is a turn’s end is a cut to that turn', () => {
  const session = conversation();
  assert.deepEqual(cutToTokens(session, 6, spell), cutToTurn(session, 1, spell));
});

test('a cut inside a turn goes on as the text that the tokens spell, and can be cut again', () => {
  const cut = cutToTokens(conversation(), 7, spell);
  assert.deepEqual(cut.transcript, { prefixText: 'abcdefg', messages: [], text: 'abcdefg' });
  assert.deepEqual(
    cut.marks.map((mark) => mark.tokens),
    [3, 6, 7],
  );
  const again = cutToTurn(cut, 0, spell)!;
  assert.deepEqual([again.tokens, again.transcript.text], [[0, 1, 2], 'abc']);
});

test('a turn that was rendered anew cannot be cut from the stored tokens', () => {
  const first = withMark([], 0, 3, chat(1, 'abc'));
  const second = withMark(first, 2, 5, chat(3, 'abXYZ'));
  assert.equal(second[0]!.tokens, null);
  assert.equal(
    cutToTurn({ tokens: [0, 1, 9, 9, 9], transcript: chat(3, 'abXYZ'), marks: second }, 0, spell),
    undefined,
  );
  assert.equal(withMark(second, 5, 6, EMPTY_TRANSCRIPT)[1]!.tokens, 5);
});
