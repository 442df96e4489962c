import type { TokenizerMetadata } from '@longshore/native';
import { PRE_TOKENIZER_NAMES, preTokenizationOf, type TokenizerNode } from './pre-tokenizers.ts';
import type { TokenizerDefinition } from './text-tokenizer.ts';
import type { AddedToken } from './token-bytes.ts';
import { UnsupportedTokenizerError } from './unsupported.ts';

const CONTROL = 3;
const USER_DEFINED = 4;
const NO_FILTERS = { single_word: false, lstrip: false, rstrip: false, normalized: false };

/** Writes a GGUF file's embedded tokenizer as a tokenizer.json. Throws UnsupportedTokenizerError for kinds we do not know. */
export function ggufTokenizer(metadata: TokenizerMetadata): TokenizerDefinition {
  if (metadata.model === 'gpt2') return byteLevel(metadata);
  if (metadata.model === 'llama') return sentencePiece(metadata);
  throw new UnsupportedTokenizerError(
    `The model's tokenizer is of kind "${metadata.model}"; supported in GGUF files: gpt2 (byte-level BPE), llama (SentencePiece BPE).`,
  );
}

function byteLevel(metadata: TokenizerMetadata): TokenizerDefinition {
  const pre = preTokenizationOf(metadata.pre);
  if (pre === undefined) {
    throw new UnsupportedTokenizerError(
      `The model's pre-tokenizer "${metadata.pre}" is unknown; supported: ${PRE_TOKENIZER_NAMES.join(', ')}.`,
    );
  }
  if (metadata.merges === null) throw new UnsupportedTokenizerError('The model file lists no BPE merges.');
  const added = addedTokens(metadata);
  return {
    json: definition({
      added,
      normalizer: pre.normalizer,
      preTokenizer: pre.preTokenizer,
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: pre.ignoreMerges,
        vocab: vocabulary(metadata.tokens),
        merges: metadata.merges.map(splitMerge),
      },
    }),
    added,
    spelling: 'byte_level',
    bosId: metadata.bosId,
    addBos: metadata.addBos ?? pre.addBos,
  };
}

/** A merge is "left right"; pieces of the byte alphabet hold no space, so the first one separates. */
function splitMerge(merge: string): [string, string] {
  const space = merge.indexOf(' ', 1);
  return [merge.slice(0, space), merge.slice(space + 1)];
}

function sentencePiece(metadata: TokenizerMetadata): TokenizerDefinition {
  const { scores } = metadata;
  if (scores === null) throw new UnsupportedTokenizerError('The model file lists no SentencePiece scores.');
  const vocab = vocabulary(metadata.tokens);
  const added = addedTokens(metadata);
  const unknown = metadata.unkId === null ? null : (metadata.tokens[metadata.unkId] ?? null);
  const prefix: TokenizerNode[] = metadata.addSpacePrefix === false ? [] : [{ type: 'Prepend', prepend: '▁' }];
  return {
    json: definition({
      added,
      normalizer: {
        type: 'Sequence',
        normalizers: [...prefix, { type: 'Replace', pattern: { String: ' ' }, content: '▁' }],
      },
      preTokenizer: null,
      decoder: {
        type: 'Sequence',
        decoders: [
          { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
          { type: 'ByteFallback' },
          { type: 'Fuse' },
        ],
      },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: unknown,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: true,
        byte_fallback: true,
        ignore_merges: false,
        vocab,
        merges: mergesFromScores(metadata.tokens, scores, new Set(added.map((one) => one.id))),
      },
    }),
    added,
    spelling: 'sentencepiece',
    bosId: metadata.bosId,
    addBos: metadata.addBos ?? true,
  };
}

/** SentencePiece merges whichever neighbours give the best-scored piece: every split of every piece is a merge, best piece first. */
function mergesFromScores(
  tokens: readonly string[],
  scores: Float32Array,
  skip: ReadonlySet<number>,
): Array<[string, string]> {
  const idOf = new Map(tokens.map((token, id) => [token, id]));
  const merges: Array<{ left: number; right: number; score: number }> = [];
  for (let id = 0; id < tokens.length; id++) {
    if (skip.has(id)) continue;
    const characters = [...tokens[id]!];
    for (let cut = 1; cut < characters.length; cut++) {
      const left = idOf.get(characters.slice(0, cut).join(''));
      const right = idOf.get(characters.slice(cut).join(''));
      if (left !== undefined && right !== undefined) merges.push({ left, right, score: scores[id]! });
    }
  }
  merges.sort((a, b) => b.score - a.score || a.left - b.left || a.right - b.right);
  return merges.map(({ left, right }) => [tokens[left]!, tokens[right]!]);
}

function vocabulary(tokens: readonly string[]): Record<string, number> {
  const vocab: Record<string, number> = Object.create(null);
  tokens.forEach((token, id) => {
    vocab[token] = id;
  });
  return vocab;
}

function addedTokens(metadata: TokenizerMetadata): AddedToken[] {
  const added: AddedToken[] = [];
  metadata.tokens.forEach((content, id) => {
    const type = metadata.tokenTypes?.[id];
    if (type === CONTROL || type === USER_DEFINED) added.push({ id, content, special: type === CONTROL });
  });
  return added;
}

function definition(parts: {
  added: readonly AddedToken[];
  normalizer: TokenizerNode | null;
  preTokenizer: TokenizerNode | null;
  decoder: TokenizerNode;
  model: TokenizerNode;
}): string {
  return JSON.stringify({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: parts.added.map((one) => ({ ...one, ...NO_FILTERS })),
    normalizer: parts.normalizer,
    pre_tokenizer: parts.preTokenizer,
    post_processor: null,
    decoder: parts.decoder,
    model: parts.model,
  });
}
