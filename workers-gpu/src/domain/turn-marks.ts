import type { Transcript } from './transcript.ts';

/** Where a turn ended. Lengths are counts of what the session held after it; marks[i] belongs to turn i, the prefill being turn 0. */
export interface TurnMark {
  /** Leading tokens; null once a later turn was rendered in another way, so that the stored tokens no longer begin with them. */
  tokens: number | null;
  messages: number;
  /** Characters of `prefixText` and of `text`; null where the session was cut inside a turn, and the tokens must be spelled again. */
  prefixCharacters: number | null;
  textCharacters: number | null;
}

export interface SessionText {
  tokens: readonly number[];
  transcript: Transcript;
  marks: readonly TurnMark[];
}

/** A session cut back: what is left, and how much of it is the beginning of what there was. */
export interface Cut {
  tokens: number[];
  transcript: Transcript;
  marks: TurnMark[];
}

/** The marks after a turn. `sharedTokens`: leading tokens of the session before the turn that it still begins with. */
export function withMark(
  marks: readonly TurnMark[],
  sharedTokens: number,
  tokens: number,
  transcript: Transcript,
): TurnMark[] {
  const kept = marks.map((mark) =>
    mark.tokens !== null && mark.tokens > sharedTokens ? { ...mark, tokens: null } : mark,
  );
  return [
    ...kept,
    {
      tokens,
      messages: transcript.messages.length,
      prefixCharacters: transcript.prefixText.length,
      textCharacters: transcript.text.length,
    },
  ];
}

/**
 * Back to the end of turn `turn`. Undefined when its tokens cannot be taken from the stored ones: then `messagesAfter` must be rendered
 * and tokenized again.
 */
export function cutToTurn(
  session: SessionText,
  turn: number,
  spell: (tokens: readonly number[]) => string,
): Cut | undefined {
  const mark = session.marks[turn]!;
  if (mark.tokens === null) return undefined;
  const tokens = session.tokens.slice(0, mark.tokens);
  const marks = session.marks.slice(0, turn + 1);
  if (mark.prefixCharacters === null || mark.textCharacters === null) {
    const text = spell(tokens);
    return { tokens, transcript: { prefixText: text, messages: [], text }, marks };
  }
  const { prefixText, messages, text } = session.transcript;
  return {
    tokens,
    transcript: {
      prefixText: prefixText.slice(0, mark.prefixCharacters),
      messages: messages.slice(0, mark.messages),
      text: text.slice(0, mark.textCharacters),
    },
    marks,
  };
}

/**
 * Back to the first `count` tokens. Where that is no turn's end, the cut goes through a message or a text: what is left goes on as text,
 * in exactly the words that the tokens spell.
 */
export function cutToTokens(session: SessionText, count: number, spell: (tokens: readonly number[]) => string): Cut {
  const turn = session.marks.findLastIndex((mark) => mark.tokens === count);
  const whole = turn < 0 ? undefined : cutToTurn(session, turn, spell);
  if (whole !== undefined) return whole;
  const tokens = session.tokens.slice(0, count);
  const text = spell(tokens);
  const before = session.marks.filter((mark) => mark.tokens !== null && mark.tokens < count);
  const bare = (length: number): TurnMark => ({
    tokens: length,
    messages: 0,
    prefixCharacters: null,
    textCharacters: null,
  });
  return {
    tokens,
    transcript: { prefixText: text, messages: [], text },
    marks: [...before.map((mark) => bare(mark.tokens!)), bare(count)],
  };
}
