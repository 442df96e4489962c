/**
 * The native engine from JavaScript. Thin: every call becomes plain structs on the JS thread and runs on the engine's own
 * threads; no promise here ever blocks the event loop. Implemented by addon/ over engine/engine.h.
 */

export const BLOCK_TOKENS = 128;

export type EngineErrorCode =
  | 'invalid_argument'
  | 'not_found'
  | 'corrupt'
  | 'unsupported'
  | 'out_of_memory'
  | 'cancelled'
  | 'closed'
  | 'internal';

/** Every rejection of this module is one of these. */
export class EngineError extends Error {
  readonly code: EngineErrorCode;
  constructor(code: EngineErrorCode, message: string) {
    super(message);
    this.name = 'EngineError';
    this.code = code;
  }
}

export type Codec = 'raw' | 'int8';
export type KvDtype = 'bf16' | 'f32';

export interface EngineOptions {
  /** A .gguf file, or a folder with config.json and *.safetensors. */
  model: string;
  backend?: 'cpu' | 'cuda' | 'auto';
  /** 0 or absent: all cores. */
  threads?: number;
  /** Physical KV blocks of 128 tokens in the pool. */
  kvBlocks: number;
  kvDtype?: KvDtype;
  /** Upper bound of tokens in one step. */
  maxBatchTokens?: number;
  /** Compute in f32 throughout: the slow obvious twin. */
  exact?: boolean;
  isa?: 'auto' | 'portable' | 'avx2' | 'avx512';
}

export interface ModelInfo {
  family: string;
  name: string;
  layers: number;
  hidden: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  intermediate: number;
  vocab: number;
  /** Tokens. */
  contextLength: number;
  /** "sha256:<hex>" over the weight files. */
  weightsDigest: string;
  /** Canonical JSON of everything that changes the computation. */
  configJson: string;
  /** Equal strings promise bit-equal results, e.g. "cpu-avx512-1". */
  numerics: string;
  weightsFormat: string;
  weightBytes: number;
  kvBytesPerToken: number;
  kvDtype: KvDtype;
  eosIds: number[];
  bosId: number | null;
  backend: string;
}

/** Neutral defaults throughout; see SamplingParams in engine/engine.h for the order in which they apply. */
export interface SamplingParams {
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  /** Non-negative integer below 2^53; the draw is a function of (seed, position) only. */
  seed?: number;
  logprobs?: boolean;
  /** 0..20 */
  topLogprobs?: number;
  /** [token id, added to its logit] */
  logitBias?: Array<[number, number]>;
  banned?: number[];
}

export interface StepItem {
  tokens: Uint32Array;
  /** Absolute index of tokens[0]. */
  position: number;
  /** Physical block of each 128 positions, covering position + tokens.length. */
  blockTable: Uint32Array;
  sample?: boolean;
  sampling?: SamplingParams;
  /** Tokens that penalties count. */
  history?: Uint32Array;
  /** Return the logits of every new token: [tokens, vocab]. */
  wantLogits?: boolean;
}

export interface StepOutput {
  /** null when the item did not sample. */
  token: number | null;
  logprob: number | null;
  top: Array<{ id: number; logprob: number }>;
  logits?: Float32Array;
}

export interface EngineStats {
  steps: number;
  tokens: number;
  abortedSteps: number;
  prefillMs: number;
  decodeMs: number;
  kvPoolBytes: number;
  weightBytes: number;
  scratchBytes: number;
}

/** One section per layer: all the given blocks' K and V of that layer, encoded (docs/design/0001-stored-block-format.md). */
export interface EncodedLayers {
  layers: Uint8Array[];
  rawBytes: number;
}

export interface Engine {
  readonly info: ModelInfo;
  /**
   * Runs one batch step on the engine's threads. `cancel` is backed by a SharedArrayBuffer; Atomics.store(cancel, 0, 1) makes
   * the step reject with code "cancelled" within 50 ms; it then had no effect that matters and its items may be submitted again.
   */
  step(items: StepItem[], cancel?: Int32Array): Promise<StepOutput[]>;
  /** Reads and encodes physical blocks; the last one may hold only `lastTokens` (default 128) tokens. */
  exportBlocks(blocks: Uint32Array, codec: Codec, lastTokens?: number): Promise<EncodedLayers>;
  /** Decodes and writes physical blocks. Rejects with "corrupt" before anything is written when a section does not fit. */
  importBlocks(blocks: Uint32Array, codec: Codec, layers: Uint8Array[], lastTokens?: number): Promise<void>;
  stats(): EngineStats;
  /** Idempotent; waits for the running step. Later calls reject with "closed". */
  close(): Promise<void>;
}
