import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { registerDecodeMetrics } from './decode-metrics.ts';

test('shows what decode read since the engine opened, once however often it is asked', async () => {
  const registry = new Registry();
  registerDecodeMetrics(registry, () => ({
    decodeKeys: 1000,
    decodeScannedKeys: 900,
    decodeRescoredKeys: 20,
    decodeKeptKeys: 5,
    decodeBytes: 57,
    decodeDenseBytes: 1024,
    decodeMassKept: 7.5,
    decodeMeasured: 8,
  }));
  await registry.metrics();
  const text = await registry.metrics();
  for (const line of [
    'keys_total{kind="in_view"} 1000',
    'keys_total{kind="scanned"} 900',
    'keys_total{kind="kept"} 5',
    'bytes_total{kind="read"} 57',
    'bytes_total{kind="dense"} 1024',
    'recall_total{kind="kept"} 7.5',
    'recall_total{kind="measured"} 8',
  ])
    assert.ok(text.includes(`longshore_worker_sparse_decode_${line}\n`), line);
});
