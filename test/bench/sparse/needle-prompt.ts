const ALPHANUMERIC = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const BOS = 1;
/** Token ids 0-3 are special; every byte is one token. */
const FIRST_BYTE = 4;
const PAIR_TOKENS = 10;
const QUESTION_TOKENS = 11;

/** Deterministic draws (mulberry32). */
function draws(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return (((x ^ (x >>> 14)) >>> 0) % limit) >>> 0;
  };
}

/**
 * `tokens` ids in the needle model's format, questions for stated pairs in the last part: "pairs" is pairs throughout, "filler" a few
 * pairs in pseudo-sentences of 1,200 words.
 */
export function needlePrompt(kind: 'pairs' | 'filler', tokens: number): number[] {
  const below = draws(tokens);
  const word4 = () => Array.from({ length: 4 }, () => ALPHANUMERIC[below(62)]).join('');
  const questions = Math.min(64, Math.floor(tokens / 64));
  const room = tokens - 1 - questions * QUESTION_TOKENS;
  const wanted = kind === 'pairs' ? Math.floor(room / PAIR_TOKENS) : questions;
  const pairs = new Map<string, string>();
  while (pairs.size < wanted) pairs.set(word4(), word4());
  const stated = [...pairs].map(([key, value]) => `${key}=${value};`);
  const context = kind === 'pairs' ? stated.join('') : spread(stated, room, below);
  const asked = [...pairs].filter((_, index) => index % Math.ceil(pairs.size / questions) === 0);
  const tail = asked.map(([key, value]) => `?${key}=${value};`).join('');
  const text = (context + tail).padStart(tokens - 1, 'a').slice(0, tokens - 1);
  return [BOS, ...Buffer.from(text, 'latin1').map((byte) => byte + FIRST_BYTE)];
}

function spread(needles: string[], room: number, below: (limit: number) => number): string {
  const vocabulary = Array.from({ length: 1200 }, () =>
    Array.from({ length: 1 + below(3) }, () => 'bdfgklmnprstvz'[below(14)]! + 'aeiou'[below(5)]!).join(''),
  );
  const each = Math.floor(room / needles.length);
  return needles
    .map((needle) => {
      let text = '';
      while (text.length < each) {
        const words = Array.from({ length: 3 + below(8) }, () => vocabulary[below(1200)]!);
        text += `${words.join(' ')}. `;
      }
      const at = below(each - needle.length);
      return text.slice(0, at) + needle + text.slice(at + needle.length, each);
    })
    .join('');
}
