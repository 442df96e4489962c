import { LongshoreError } from '@longshore/core';
import type { Worker } from '../worker.ts';

/** Throws unless this worker serves the model. */
export function requireModel(worker: Worker, model: string): void {
  const { modelId } = worker.parts;
  if (model === modelId) return;
  throw new LongshoreError('model_not_found', `This worker serves ${modelId}, not ${model}.`, { param: 'model' });
}

/** Runs a request that answers once, counted like every other: it can be cancelled and is waited for when the worker drains. */
export async function gated<T>(
  worker: Worker,
  request: { requestId: string; model: string },
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  requireModel(worker, request.model);
  const { gate } = worker.parts;
  const controller = gate.enter(request.requestId);
  try {
    return await run(controller.signal);
  } finally {
    gate.leave(controller);
  }
}
