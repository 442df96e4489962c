import { BLOCK_TOKENS } from '@longshore/core';
import { type Engine, open, readModelMetadata } from '@longshore/native';
import type { WorkerConfig } from './config.ts';
import { loadModelText, type ModelText } from './tokenizer/model-text.ts';

export interface OpenedModel {
  engine: Engine;
  text: ModelText;
  kvBlocks: number;
}

type ModelConfig = Pick<
  WorkerConfig,
  | 'model'
  | 'backend'
  | 'threads'
  | 'kvBytes'
  | 'kvDtype'
  | 'touchKv'
  | 'maxBatchTokens'
  | 'maxRunning'
  | 'policy'
  | 'decodePolicy'
>;

const BYTES_OF_DTYPE = { bf16: 2, f32: 4 };

/** Opens weights and tokenizer; the block pool takes `kvBytes`. Rejects with EngineError or UnsupportedTokenizerError. */
export async function openModel(config: ModelConfig): Promise<OpenedModel> {
  const metadata = await readModelMetadata(config.model);
  const text = await loadModelText(config.model, metadata);
  const { layers, kvHeads, headDim } = metadata;
  const blockBytes = 2 * layers * kvHeads * headDim * BLOCK_TOKENS * BYTES_OF_DTYPE[config.kvDtype];
  // More blocks than every running sequence's full context could ever use would only reserve memory.
  const useful = (config.maxRunning + 1) * Math.ceil(metadata.contextLength / BLOCK_TOKENS) * 4;
  const kvBlocks = Math.min(useful, Math.max(2, Math.floor(config.kvBytes / blockBytes)));
  const engine = await open({
    model: config.model,
    backend: config.backend,
    threads: config.threads,
    kvBlocks,
    kvDtype: config.kvDtype,
    touchKv: config.touchKv,
    maxBatchTokens: config.maxBatchTokens,
    policy: config.policy,
    ...(config.decodePolicy === undefined ? {} : { decodePolicy: config.decodePolicy }),
  });
  return { engine, text, kvBlocks };
}
