import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { createHostTier } from '../kv/index.ts';
import { registerTierMetrics } from './tier-metrics.ts';

test('shows each tier as it is when asked, counters once however often that is', async () => {
  const registry = new Registry();
  const tier = createHostTier({ budgetBytes: 1000, ttlMs: 1e9, now: () => 0 });
  registerTierMetrics(registry, () => [tier.stats()]);
  await tier.fill('kv/a', new Uint8Array(300), 10);
  await tier.readInto('kv/a', new Uint8Array(300));
  await registry.metrics();
  const text = await registry.metrics();
  for (const line of [
    'longshore_worker_tier_budget_bytes{tier="host"} 1000',
    'longshore_worker_tier_bytes{tier="host"} 300',
    'longshore_worker_tier_hits_total{tier="host"} 1',
    'longshore_worker_tier_misses_total{tier="host"} 0',
    'longshore_worker_tier_filled_bytes_total{tier="host"} 300',
  ])
    assert.ok(text.includes(`${line}\n`), line);
});
