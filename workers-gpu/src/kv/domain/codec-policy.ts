import type { Codec, KvDtype } from '@longshore/core';

/** What the choice depends on. */
export interface CodecModel {
  /** The engine's family name: llama, qwen2, ... */
  family: string;
  kvDtype: KvDtype;
}

interface CodecRule {
  /** Absent: any. */
  family?: string;
  kvDtype?: KvDtype;
  codec: Codec;
  /** Why, with the number that decides it. */
  reason: string;
}

/**
 * The first rule that fits. Only codecs that give back every bit stand here: with them an answer is the same with and without the
 * cache. A codec that loses bits is a choice that an operator makes by name, knowing docs/results/codec.jsonl.
 */
const RULES: readonly CodecRule[] = [
  {
    kvDtype: 'bf16',
    codec: 'lossless',
    reason: 'bf16 KV shrinks 1.5 times without losing a bit, faster than S3 reads',
  },
  { kvDtype: 'f32', codec: 'lossless', reason: 'f32 KV shrinks 1.2 times: all but its exponents is noise' },
];

export interface CodecChoice {
  codec: Codec;
  reason: string;
}

/** `configured`: a codec by name, or `auto` for the rules. */
export function chooseCodec(model: CodecModel, configured: Codec | 'auto'): CodecChoice {
  if (configured !== 'auto') return { codec: configured, reason: 'configured' };
  const rule = RULES.find(
    ({ family, kvDtype }) =>
      (family === undefined || family === model.family) && (kvDtype === undefined || kvDtype === model.kvDtype),
  );
  return rule ?? { codec: 'lossless', reason: 'gives back every bit of any KV' };
}
