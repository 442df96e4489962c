import { serve } from '@hono/node-server';
import { createDatabase } from '@longshore/db';
import { ConfigError, parseConfig } from './config.ts';
import { workerApp } from './http/app.ts';
import { createS3ObjectStore } from './kv/index.ts';
import { openModel } from './open-model.ts';
import { openTiers } from './open-tiers.ts';
import { Heartbeats } from './telemetry/heartbeats.ts';
import { jsonLogger } from './telemetry/log.ts';
import { Worker } from './worker.ts';

/** A mistake in the configuration, or a model that cannot be opened: restarting will not help. */
const EXIT_CONFIG = 2;
const EXIT_FAULT = 1;
const MAX_UPLOAD_MS = 3_600_000;

async function main(): Promise<void> {
  const config = parseConfig(process.env);
  const log = jsonLogger({ workerId: config.workerId }, (line) => process.stdout.write(line));
  log.info('opening_model', { model: config.modelId });
  const model = await openModel(config);
  const database = createDatabase(config.databaseUrl);
  const objects = createS3ObjectStore(config.s3);
  const worker = new Worker({
    config,
    model,
    objects,
    tiers: await openTiers(config, log),
    database: database.db,
    log,
    // The last events reach their clients first; a broken engine is not closed, only left.
    onFault: () => setTimeout(() => process.exit(EXIT_FAULT), 200),
  });

  await worker.calibrate();
  const server = serve({
    fetch: workerApp(worker, config.poolToken).fetch,
    hostname: config.host,
    port: config.port,
    // A session file of many gigabytes may take so long to arrive; the edge bounds every other request.
    serverOptions: { requestTimeout: MAX_UPLOAD_MS },
  });
  await new Promise<void>((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', (error: NodeJS.ErrnoException) => {
      const busy = error.code === 'EADDRINUSE';
      const remedy = `port ${config.port} is in use: stop what listens there or choose another LONGSHORE_WORKER_PORT`;
      reject(busy ? new Error(remedy, { cause: error }) : error);
    });
  });
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : config.port;
  const url = config.url ?? `http://${config.host}:${port}`;
  log.info('listening', { url, numerics: model.engine.info.numerics, kvBlocks: model.kvBlocks });

  let failures = 0;
  const heartbeats =
    config.edgeUrl === undefined
      ? undefined
      : new Heartbeats({
          edgeUrl: config.edgeUrl,
          poolToken: config.poolToken,
          compose: () => worker.heartbeat(url),
          onFailure: (reason) => {
            worker.metrics.heartbeatFailed();
            // The first and then every thirtieth: an edge that starts later is normal, silence about a dead one is not.
            if (failures++ % 30 === 0) log.warn('heartbeat_failed', { reason, failures });
          },
        });
  heartbeats?.start();

  let stopping = false;
  const stop = async (signal: string): Promise<void> => {
    if (stopping) process.exit(EXIT_FAULT);
    stopping = true;
    log.info('draining', { signal, requests: worker.parts.gate.count });
    const drained = worker.drain();
    await heartbeats?.beat();
    const clean = await drained;
    heartbeats?.stop();
    await worker.close();
    server.close();
    await model.engine.close();
    await database.close();
    log.info('stopped', { clean });
    process.exit(0);
  };
  process.on('SIGTERM', (signal) => void stop(signal));
  process.on('SIGINT', (signal) => void stop(signal));
}

try {
  await main();
} catch (error) {
  const lines =
    error instanceof ConfigError ? error.mistakes : [error instanceof Error ? error.message : String(error)];
  for (const line of lines) process.stderr.write(`worker: ${line}\n`);
  process.exit(EXIT_CONFIG);
}
