import { Counter, type Registry } from 'prom-client';
import type { KvStoreStats } from '../kv/index.ts';

/** longshore_worker_store_*: what went wrong below the device; read when Prometheus asks. */
export function registerStoreMetrics(
  registry: Registry,
  read: () => Pick<KvStoreStats, 'quarantinedObjects' | 'faults'>,
): void {
  const registers = [registry];
  new Counter({
    name: 'longshore_worker_store_quarantined_objects_total',
    help: 'Stored objects that contradicted their checksum, seal or chain',
    registers,
    collect() {
      this.reset();
      this.inc(read().quarantinedObjects);
    },
  });
  new Counter({
    name: 'longshore_worker_store_faults_total',
    help: 'Calls to the store or its directory that did not do what was asked, by kind',
    labelNames: ['kind'],
    registers,
    collect() {
      this.reset();
      for (const [kind, count] of Object.entries(read().faults)) this.inc({ kind }, count);
    },
  });
}
