import { type AttentionReport, type AttentionRequest, BLOCK_TOKENS, LongshoreError } from '@longshore/core';
import { type Engine, EngineError } from '@longshore/native';
import { blockMap } from '../attention/block-map.ts';
import { headTypes } from '../attention/canonical-policy.ts';
import { measurePrompt } from '../attention/measure-prompt.ts';
import { checkContext } from './context-limit.ts';
import type { WorkerParts } from './worker-parts.ts';

/** Rows of a measured step: others' steps wait for one of them at a time. */
const CHUNK = 512;

/**
 * POST /attention: prefills the prompt again into blocks of its own, without the cache, and measures on the way. Nothing is stored. Throws
 * LongshoreError overloaded when the blocks are in use, invalid_request for a head that the model lacks.
 */
export async function attentionReport(
  parts: WorkerParts,
  engine: Engine,
  request: AttentionRequest,
  signal: AbortSignal,
): Promise<AttentionReport> {
  const { info, scheduler } = parts;
  const absent = request.maps.find(([layer, head]) => layer >= info.layers || head >= info.heads);
  if (absent !== undefined)
    throw new LongshoreError('invalid_request', `The model has no head ${absent[1]} in layer ${absent[0]}.`, {
      param: 'maps',
    });
  const { tokens } = await parts.prompts.build(request.input, false);
  checkContext(tokens.length, parts.contextLimit, 1);
  const blocks = scheduler.blocks.allocate(Math.ceil(tokens.length / BLOCK_TOKENS));
  if (blocks === undefined)
    throw new LongshoreError('overloaded', 'Requests hold the blocks that this prompt needs; ask again later.', {
      retryAfterSeconds: 5,
    });
  const cancel = new Int32Array(new SharedArrayBuffer(4));
  const abort = () => void Atomics.store(cancel, 0, 1);
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    const measured = await measurePrompt(engine, Uint32Array.from(tokens), Uint32Array.from(blocks), {
      every: request.every,
      maps: request.maps,
      chunk: Math.min(CHUNK, scheduler.limits.maxBatchTokens),
      cancel,
    });
    const typeOf = headTypes(info.policyJson);
    const heads = measured.heads.grid(0);
    return {
      promptTokens: tokens.length,
      measuredQueries: Math.max(...heads.flat().map(({ rows }) => rows)),
      policy: info.policyJson,
      heads: heads.map((row, layer) =>
        row.map(({ rows, ns: _, ...report }, head) => (rows > 0 ? { type: typeOf(layer, head), ...report } : null)),
      ),
      maps: request.maps
        .filter(([layer, head]) => measured.maps.some((row) => row.layer === layer && row.head === head))
        .map(([layer, head]) => ({ layer, head, svg: blockMap(measured.maps, layer, head) })),
    };
  } catch (error) {
    if (error instanceof EngineError && error.code === 'unsupported')
      throw new LongshoreError('invalid_request', error.message, { cause: error });
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
    scheduler.blocks.release(blocks);
    parts.loop.wake();
  }
}
