import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createTestDatabase } from '@longshore/db/testing';
import { startTestPlatform } from './platform.ts';

const folder = await mkdtemp(join(tmpdir(), 'longshore-own-'));
after(() => rm(folder, { recursive: true, force: true }));

test('DATABASE_URL and S3_* replace the embedded parts: sessions then live in the given database and bucket', async () => {
  const database = await createTestDatabase();
  await using lender = await startTestPlatform({ workers: 1 });
  try {
    const { store } = lender;
    await using platform = await startTestPlatform({
      workers: 1,
      env: {
        DATABASE_URL: database.url,
        S3_ENDPOINT: store.endpoint,
        S3_BUCKET: store.bucket,
        S3_ACCESS_KEY_ID: store.accessKeyId,
        S3_SECRET_ACCESS_KEY: store.secretAccessKey,
      },
    });
    assert.equal(platform.database, undefined);
    assert.equal(platform.objectStore, undefined);
    assert.notEqual(platform.apiKey, lender.apiKey);
    const response = await fetch(`${platform.baseUrl}/sessions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${platform.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: platform.model.name, input: 'The harbour opens at six. '.repeat(20) }),
    });
    const session = (await response.json()) as { status: string };
    assert.equal(response.status, 201);
    assert.equal(session.status, 'ready');
    // The lender's own key is in another database.
    const refused = await fetch(`${platform.baseUrl}/models`, {
      headers: { authorization: `Bearer ${lender.apiKey}` },
    });
    assert.equal(refused.status, 401);
  } finally {
    await database.close();
  }
});
