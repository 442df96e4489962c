import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from './seeded-random.ts';
import { StopMatcher } from './stop-matcher.ts';

test('holds back what could become a stop string, and no more', () => {
  const matcher = new StopMatcher(['</end>']);
  assert.deepEqual(matcher.push('one <'), { text: 'one ' });
  assert.deepEqual(matcher.push('/b> '), { text: '</b> ' });
  assert.deepEqual(matcher.push('two </en'), { text: 'two ' });
  assert.deepEqual(matcher.push('d> three'), { text: '', stop: '</end>' });
});

test('gives held text back when the text ends otherwise', () => {
  const matcher = new StopMatcher(['abc']);
  assert.deepEqual(matcher.push('xab'), { text: 'x' });
  assert.equal(matcher.flush(), 'ab');
  assert.equal(matcher.flush(), '');
});

function whole(text: string, stops: string[]): { text: string; stop?: string } {
  for (let end = 1; end <= text.length; end++) {
    const ending = stops.filter((stop) => text.slice(0, end).endsWith(stop)).sort((a, b) => b.length - a.length)[0];
    if (ending !== undefined) return { text: text.slice(0, end - ending.length), stop: ending };
  }
  return { text };
}

for (let seed = 1; seed <= 20; seed++) {
  test(`finds the same stop however the text is cut, seed ${seed}`, () => {
    const random = seededRandom(seed);
    const word = (length: number) => Array.from({ length }, () => 'ab\n'[random(3)]).join('');
    for (let round = 0; round < 50; round++) {
      const stops = Array.from({ length: random(4) }, () => word(1 + random(4)));
      const text = word(random(30));
      const matcher = new StopMatcher(stops);
      let sent = '';
      let stop: string | undefined;
      for (let at = 0; at < text.length && stop === undefined; ) {
        const length = 1 + random(4);
        const result = matcher.push(text.slice(at, at + length));
        sent += result.text;
        stop = result.stop;
        at += length;
      }
      if (stop === undefined) sent += matcher.flush();
      const expected = whole(text, stops);
      assert.equal(stop, expected.stop);
      assert.equal(sent, expected.text);
    }
  });
}
