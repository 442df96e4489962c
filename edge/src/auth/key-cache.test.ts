import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KEY_CACHE_MS, KeyCache } from './key-cache.ts';

const grant = {
  id: 'key_1',
  organizationId: 'org_1',
  projectId: 'prj_1',
  scopes: [],
  models: null,
  state: 'active' as const,
  lastUsedAt: null,
};

test('forgets a key within the five seconds that revocation may take', () => {
  const cache = new KeyCache();
  cache.put('h', grant, 1000);
  assert.equal(cache.get('h', 1000 + KEY_CACHE_MS - 1), grant);
  assert.equal(cache.get('h', 1000 + KEY_CACHE_MS), undefined);
  assert.ok(KEY_CACHE_MS < 5000);
});

test('holds no more keys than its bound, dropping the oldest', () => {
  const cache = new KeyCache(3);
  for (let index = 0; index < 10; index++) cache.put(`${index}`, grant, 0);
  assert.equal(cache.size, 3);
  assert.equal(cache.get('0', 1), undefined);
  assert.equal(cache.get('9', 1), grant);
});
