import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Pool } from '../domain/pool.ts';
import type { PoolRouterPort } from '../ports.ts';
import { RouterClient } from './router-client.ts';

type Models = PoolRouterPort['models'];

function clientOf(...answers: Models[]): { client: RouterClient; stubs: () => number } {
  let stubs = 0;
  const namespace = { getByName: () => ({ models: answers[stubs++] }) as unknown as PoolRouterPort };
  return { client: new RouterClient(namespace, 'default'), stubs: () => stubs };
}

const served: Models = async () => new Pool().models(0);
const reset: Models = async () => {
  throw new Error('Durable Object reset because its code was updated.');
};

test('a router that was reset is asked once more, through a new stub', async () => {
  const { client, stubs } = clientOf(reset, served);
  assert.deepEqual(await client.models(), []);
  assert.equal(stubs(), 2);
});

test('a router that keeps failing means that no worker is available, with a time to retry', async () => {
  const { client, stubs } = clientOf(reset, reset, served);
  await assert.rejects(client.models(), { code: 'no_worker_available', retryAfterSeconds: 1 });
  assert.equal(stubs(), 2);
});

test('a silent router is not waited for longer than its deadline', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    const silent: Models = () => new Promise(() => {});
    const { client } = clientOf(silent, silent);
    const asked = client.models();
    asked.catch(() => {});
    for (let attempt = 0; attempt < 2; attempt++) {
      mock.timers.tick(3000);
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    await assert.rejects(asked, { code: 'no_worker_available' });
  } finally {
    mock.timers.reset();
  }
});
