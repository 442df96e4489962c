import type { EngineStats } from '@longshore/native';
import { Counter, type Registry } from 'prom-client';

type Decode = Pick<
  EngineStats,
  | 'decodeKeys'
  | 'decodeScannedKeys'
  | 'decodeRescoredKeys'
  | 'decodeKeptKeys'
  | 'decodeBytes'
  | 'decodeDenseBytes'
  | 'decodeMassKept'
  | 'decodeMeasured'
>;

/** longshore_worker_sparse_decode_*: what a sparse decode policy read instead of everything; read when Prometheus asks. */
export function registerDecodeMetrics(registry: Registry, read: () => Decode): void {
  const counter = (name: string, help: string, values: (stats: Decode) => Record<string, number>) =>
    new Counter({
      name: `longshore_worker_sparse_decode_${name}_total`,
      help,
      labelNames: ['kind'],
      registers: [registry],
      collect() {
        this.reset();
        for (const [kind, value] of Object.entries(values(read()))) this.inc({ kind }, value);
      },
    });
  counter('keys', 'Keys of single tokens over long contexts, per query head: how far each was read', (stats) => ({
    in_view: stats.decodeKeys,
    scanned: stats.decodeScannedKeys,
    rescored: stats.decodeRescoredKeys,
    kept: stats.decodeKeptKeys,
  }));
  counter('bytes', 'Bytes of KV and sketches that were read, and that dense attention reads', (stats) => ({
    read: stats.decodeBytes,
    dense: stats.decodeDenseBytes,
  }));
  counter(
    'recall',
    'Heads of sampled tokens, and the attention mass they kept: kept / measured is the recall',
    (stats) => ({
      kept: stats.decodeMassKept,
      measured: stats.decodeMeasured,
    }),
  );
}
