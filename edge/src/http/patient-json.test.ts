import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { patientJson } from './patient-json.ts';

test('an early answer keeps its status and an early failure is thrown', async () => {
  const response = await patientJson(Promise.resolve({ a: 1 }), () => {}, 201);
  assert.equal(response.status, 201);
  assert.deepEqual(await response.json(), { a: 1 });
  await assert.rejects(
    patientJson(Promise.reject(new Error('no')), () => {}),
    /no/,
  );
});

async function late() {
  const answer = Promise.withResolvers<unknown>();
  const cancelled = mock.fn();
  const response = await patientJson(answer.promise, cancelled, 200, 10);
  return { answer, cancelled, response };
}

test('a late answer is JSON behind blank lines', async () => {
  const { answer, response } = await late();
  const reader = response.body!.getReader();
  const first = await reader.read();
  assert.equal(new TextDecoder().decode(first.value), '\n');
  answer.resolve({ a: 1 });
  let text = '';
  for (let next = await reader.read(); !next.done; next = await reader.read())
    text += new TextDecoder().decode(next.value);
  assert.deepEqual(JSON.parse(text), { a: 1 });
});

test('a late failure breaks the connection off instead of ending the body well', async () => {
  const { answer, response } = await late();
  answer.reject(new Error('no'));
  await assert.rejects(response.text());
});

test('a reader that leaves is noticed', async () => {
  const { cancelled, response } = await late();
  await response.body!.cancel();
  assert.equal(cancelled.mock.callCount(), 1);
});
