import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatId, ID_PREFIX, type IdKind, isId } from './ids.ts';

const bytes = (fill: (index: number) => number) => Uint8Array.from({ length: 16 }, (_, index) => fill(index));

test('an id is its prefix and 26 Crockford digits, for every kind', () => {
  for (const kind of Object.keys(ID_PREFIX) as IdKind[]) {
    const id = formatId(
      kind,
      bytes((index) => index * 17),
    );
    assert.match(id, new RegExp(`^${ID_PREFIX[kind]}_[0-9a-hjkmnp-tv-z]{26}$`));
    assert.ok(isId(kind, id));
  }
});

test('the extremes are 26 digits too, and different bytes give different ids', () => {
  const zero = formatId(
    'request',
    bytes(() => 0),
  );
  const full = formatId(
    'request',
    bytes(() => 255),
  );
  assert.equal(zero, `req_${'0'.repeat(26)}`);
  assert.equal(full, `req_7${'z'.repeat(25)}`);
  const seen = new Set<string>();
  for (let at = 0; at < 16; at++)
    for (let bit = 0; bit < 8; bit++)
      seen.add(
        formatId(
          'object',
          bytes((index) => (index === at ? 1 << bit : 0)),
        ),
      );
  assert.equal(seen.size, 128);
});

test('refuses other sizes, other kinds, other alphabets', () => {
  assert.throws(() => formatId('request', new Uint8Array(15)), RangeError);
  const id = formatId(
    'session',
    bytes(() => 1),
  );
  for (const bad of [id.slice(1), `${id}0`, id.slice(0, -1), id.toUpperCase(), `${id.slice(0, -1)}u`, ''])
    assert.equal(isId('session', bad), false, bad);
  assert.equal(isId('request', id), false);
});
