import { randomBytes } from 'node:crypto';
import { chainHashes, namespaceOf } from '@longshore/core';
import { createDatabase } from '@longshore/db';
import { openTiny } from '../../../../native/tiny-model.ts';
import { createDiskObjectStore } from '../adapters/disk-object-store.ts';
import { openDiskTier } from '../adapters/disk-tier.ts';
import { createPostgresDirectory, createPostgresKeyRing } from '../adapters/postgres-directory.ts';
import { createKvStore } from '../create-kv-store.ts';
import { type KillOrder, PHYSICAL_BLOCKS, TOKENS } from './kill-order.ts';
import { IDENTITY, MASTER_KEY, tenantOf } from './kv-bench.ts';

/**
 * A worker's process that kills itself with SIGKILL right before or after its k-th call to the object store or the database. Ends by
 * itself, with code 0, when it makes fewer calls.
 */
const order = JSON.parse(process.argv[2] ?? '') as KillOrder;
let calls = 0;

function mortal<T extends object>(port: T): T {
  return new Proxy(port, {
    get(target, name) {
      const member = Reflect.get(target, name) as unknown;
      if (typeof member !== 'function' || name === 'close') return member;
      return async (...args: unknown[]) => {
        const chosen = calls++ === order.killAt;
        if (chosen && order.moment === 'before') process.kill(process.pid, 'SIGKILL');
        const result: unknown = await member.apply(target, args);
        if (chosen) process.kill(process.pid, 'SIGKILL');
        return result;
      };
    },
  });
}

const client = createDatabase(order.databaseUrl);
const engine = await openTiny();
const { layers, kvHeads, headDim, kvDtype, weightsDigest } = engine.info;
const tier = await openDiskTier({
  folder: order.tierFolder,
  budgetBytes: 64 * 1024 ** 2,
  ttlMs: 3_600_000,
  now: () => performance.now(),
  wallClock: () => Date.now(),
});
const store = createKvStore({
  engine,
  objects: mortal(createDiskObjectStore(order.objectsFolder)),
  tiers: [tier],
  directory: mortal(createPostgresDirectory(client.db)),
  keyRing: createPostgresKeyRing(client.db, MASTER_KEY),
  namespace: namespaceOf({ ...IDENTITY, codec: 'lossless', weights: weightsDigest }),
  shape: { layers, kvHeads, headDim, kvDtype, codec: 'lossless' },
  workerId: 'mortal',
  epoch: randomBytes(4).toString('hex'),
  ttlSeconds: 3600,
  sweepIntervalMs: 0,
  sweepAges: { abandoned: 0, grace: 0, orphan: 0 },
  warmUp: false,
});
const tenant = await tenantOf(store, order.organizationId);
const hashes = chainHashes(tenant.root, TOKENS);
if (order.work === 'publish') {
  await engine.step([{ tokens: TOKENS, position: 0, blockTable: PHYSICAL_BLOCKS }]);
  await store.publish({ tenant, hashes, firstBlock: 0, physicalBlocks: PHYSICAL_BLOCKS }).done;
} else {
  await store.remove(tenant, hashes);
  await store.sweep();
}
await store.close();
process.exit(0);
