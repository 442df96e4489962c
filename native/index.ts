/**
 * The native engine from JavaScript. Thin: every call becomes plain structs on the JS thread and runs on the engine's own
 * threads; no promise here ever blocks the event loop. Implemented by addon/ over engine/engine.h.
 */

import { binding } from './binding.ts';

export { EngineError, type EngineErrorCode } from './errors.ts';

/** Tokens per KV block. */
export const BLOCK_TOKENS = 128;

export type Codec = 'raw' | 'int8' | 'lossless' | 'int4';
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
  /** Touch the pool's memory in the background, so that no step or import pays for its first use. */
  touchKv?: boolean;
  /** Upper bound of tokens in one step. */
  maxBatchTokens?: number;
  /** Compute in f32 throughout: the slow obvious twin. */
  exact?: boolean;
  isa?: 'auto' | 'portable' | 'avx2' | 'avx512';
  /** Attention of prefill: "dense" (default), another built-in name ("default"), the path of a policy file, or its JSON (core's attentionPolicySchema, or MInference's). */
  policy?: string;
  /**
   * Attention of single tokens over long contexts instead of the policy's own: "dense", "sketch_topk", "block_topk", "graph" with their
   * defaults, or JSON text of core's decodePolicySchema.
   */
  decodePolicy?: string;
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
  /** Canonical JSON of the attention policy: part of the cache identity. */
  policyJson: string;
  /**
   * Blocks that end at or below this many tokens have the same bits however they were computed. Later ones are published only
   * after a step computed them whole (docs/design/0017).
   */
  denseTokens: number;
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
  /** Wall time of attention, selection included. */
  attentionMs: number;
  /** Under a sparse policy: time of all threads for choosing keys, and for attending to them. */
  sparseSelectMs: number;
  sparseAttendMs: number;
  /** Score entries (a query with a key) of rows under a sparse policy: dense attention's, computed, scored without their values. */
  causalEntries: number;
  computedEntries: number;
  scannedEntries: number;
  /** Under a sparse decode policy, over query heads: keys in view, scored by their sketches, scored exactly, read with their values. */
  decodeKeys: number;
  decodeScannedKeys: number;
  decodeRescoredKeys: number;
  decodeKeptKeys: number;
  /** Of KV and sketches: read, and what dense attention reads. */
  decodeBytes: number;
  decodeDenseBytes: number;
  /** Sum over `decodeMeasured` heads of sampled tokens of the share of the attention mass that was kept. */
  decodeMassKept: number;
  decodeMeasured: number;
}

/** One section per layer: all the given blocks' K and V of that layer, encoded (docs/design/0001-stored-block-format.md). */
export interface EncodedLayers {
  layers: Uint8Array[];
  rawBytes: number;
}

/** A whole sealed object (docs/design/0001-stored-block-format.md), its header already verified by the caller. */
export interface SealedLayers {
  /** The object's bytes. Opened in place: theirs is garbage afterwards, and nobody may touch them until the call has ended. */
  bytes: Uint8Array;
  /** Leading bytes that every section's seal authenticates. */
  additionalBytes: number;
  /** AES-256 key. */
  key: Uint8Array;
  /** 12 bytes. */
  nonceBase: Uint8Array;
  /** By layer: offset from the object's first byte, stored bytes with the tag, CRC-32 of the stored bytes. */
  sections: Uint32Array;
}

/** What `Engine.measure` compares. */
export interface MeasureRequest {
  /** Built-in names, paths or policy JSON; none: the engine's own policy. The step itself runs under the engine's own. */
  policies?: string[];
  /** Every which aligned query block is measured (default 1). */
  every?: number;
  /** [layer, query head]: return where their mass lies. */
  maps?: Array<[number, number]>;
}

/** Sums over the measured rows of each head (HeadMeasure in engine/measure.h); those of a prompt's steps add up. */
export interface AttentionMeasures {
  policies: number;
  layers: number;
  heads: number;
  /** [policies][layers][heads][9]: rows, mass kept, rows that keep less than 0.9, squared error, squared norm, causal, computed and scanned entries, ns. */
  sums: Float64Array;
  maps: BlockMapRow[];
}

/** One query block of one head: per key block the mean share of its rows' mass, and whether the first policy reads it. */
export interface BlockMapRow {
  layer: number;
  head: number;
  block: number;
  mass: Float32Array;
  read: Uint8Array;
}

/** Wall time of an importSealed. */
export interface SealedImport {
  /** Checksums and seals. */
  openMs: number;
  /** Decoding into the pool. */
  writeMs: number;
}

export interface Engine {
  readonly info: ModelInfo;
  /**
   * Runs one batch step on the engine's threads. `cancel` is backed by a SharedArrayBuffer; Atomics.store(cancel, 0, 1) makes
   * the step reject with code "cancelled" within 50 ms; it then had no effect that matters and its items may be submitted again.
   * Steps run one at a time in the order of the calls; at most 64 may wait (then "out_of_memory").
   */
  step(items: StepItem[], cancel?: Int32Array): Promise<StepOutput[]>;
  /**
   * The step of one item, unsampled, and beside it what the request's policies do to the attention of its rows, against dense attention.
   * Takes several times the step's time. Rejects as `step` does, for policies that cannot be read, and with "unsupported" where the backend
   * does not measure.
   */
  measure(item: StepItem, request?: MeasureRequest, cancel?: Int32Array): Promise<AttentionMeasures>;
  /**
   * Reads and encodes consecutive blocks of one chain, given by their physical numbers. `firstToken` is the absolute index of
   * the first one's first token (a multiple of 128; the chain's very first block is stored raw under "int8"). The last block may
   * hold only `lastTokens` (default 128) tokens. No running step may write these blocks. Runs beside a step.
   */
  exportBlocks(blocks: Uint32Array, codec: Codec, firstToken: number, lastTokens?: number): Promise<EncodedLayers>;
  /**
   * Decodes and writes physical blocks, the reverse of exportBlocks; the sections are copied before the call returns. Rejects
   * with "corrupt" before anything is written when a section's sizes do not fit, and with "corrupt" when a block's bytes do not decode:
   * then the blocks may hold anything. No running step may touch these blocks.
   */
  importBlocks(
    blocks: Uint32Array,
    codec: Codec,
    layers: Uint8Array[],
    firstToken: number,
    lastTokens?: number,
  ): Promise<void>;
  /**
   * Verifies checksums and seals of a whole object, then decodes and writes the blocks that follow its first `skip`, all on native
   * threads and without copies. `firstToken` is that of blocks[0]. Rejects with "corrupt" before anything is written when a section is
   * not what its checksum and seal say; with "unsupported" where this Node shows no OpenSSL. No running step may touch these blocks.
   */
  importSealed(
    blocks: Uint32Array,
    codec: Codec,
    sealed: SealedLayers,
    firstToken: number,
    skip: number,
    lastTokens?: number,
  ): Promise<SealedImport>;
  stats(): EngineStats;
  /** Idempotent; waits for the running step, rejects those that wait behind it. Later calls reject (stats throws) with "closed". */
  close(): Promise<void>;
}

/** What a GGUF file says about its tokenizer; absent keys are null. Strings as stored (GPT-2 kinds: byte-level alphabet). */
export interface TokenizerMetadata {
  /** tokenizer.ggml.model: "gpt2" (byte-level BPE), "llama" (SentencePiece), ... */
  model: string;
  /** tokenizer.ggml.pre: which regular expression splits text before BPE, e.g. "smollm", "qwen2", "llama-bpe". */
  pre: string | null;
  /** By token id. */
  tokens: string[];
  /** "left right" pairs, best first. */
  merges: string[] | null;
  /** By token id (SentencePiece). */
  scores: Float32Array | null;
  /** By token id: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte. */
  tokenTypes: Int32Array | null;
  bosId: number | null;
  eosId: number | null;
  eotId: number | null;
  unkId: number | null;
  padId: number | null;
  addBos: boolean | null;
  addEos: boolean | null;
  addSpacePrefix: boolean | null;
  /** Jinja source of tokenizer.chat_template. */
  chatTemplate: string | null;
}

export interface ModelMetadata {
  /** hf: the tokenizer is in the folder's tokenizer.json, tokenizer_config.json and chat_template.jinja. */
  container: 'gguf' | 'hf';
  family: string;
  name: string;
  weightsFormat: string;
  contextLength: number;
  vocab: number;
  /** These three and the KV dtype give the bytes of a KV block, from which the pool is sized before `open`. */
  layers: number;
  kvHeads: number;
  headDim: number;
  eosIds: number[];
  bosId: number | null;
  /** null for Hugging Face folders and for GGUF files without a tokenizer. */
  tokenizer: TokenizerMetadata | null;
}

/** Opens a model. Rejects with not_found, corrupt, unsupported, out_of_memory or invalid_argument. */
export async function open(options: EngineOptions): Promise<Engine> {
  return binding().open(options);
}

/** Reads a model file's or folder's facts without loading its weights. Rejects like `open`. */
export async function readModelMetadata(path: string): Promise<ModelMetadata> {
  return binding().readModelMetadata(path);
}
