import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERROR_STATUS, type ErrorCode, fromWireError, LongshoreError, toWireError } from './errors.ts';

test('every code has an HTTP error status and crosses the wire unchanged', () => {
  for (const code of Object.keys(ERROR_STATUS) as ErrorCode[]) {
    const error = new LongshoreError(code, 'do this', { param: 'messages', retryAfterSeconds: 3 });
    assert.ok(error.status >= 400 && error.status < 600);
    const back = fromWireError(JSON.parse(JSON.stringify(toWireError(error))));
    assert.deepEqual(
      { code: back.code, message: back.message, param: back.param, retry: back.retryAfterSeconds, status: back.status },
      { code, message: 'do this', param: 'messages', retry: 3, status: error.status },
    );
  }
});

test('what is not ours crosses the wire without its message', () => {
  const wire = toWireError(new Error('password is hunter2'));
  assert.equal(wire.code, 'internal');
  assert.ok(!wire.message.includes('hunter2'));
  assert.equal(toWireError(undefined).code, 'internal');
});

test('absent details stay absent on the wire, and an unknown code reads as internal', () => {
  assert.deepEqual(toWireError(new LongshoreError('conflict', 'm')), { code: 'conflict', message: 'm' });
  assert.equal(fromWireError({ code: 'from_the_future' as ErrorCode, message: 'm' }).code, 'internal');
});

test('keeps its cause', () => {
  const cause = new Error('why');
  assert.equal(new LongshoreError('internal', 'm', { cause }).cause, cause);
});
