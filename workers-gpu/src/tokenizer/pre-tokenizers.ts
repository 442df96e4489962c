/** A node of the Hugging Face tokenizer.json format. */
export type TokenizerNode = { [key: string]: unknown };

/** Splits text as GPT-2 does: contractions, words, numbers, punctuation, spaces. */
const GPT2: TokenizerNode = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
const BYTES_ONLY: TokenizerNode = { ...GPT2, use_regex: false };
const DIGITS: TokenizerNode = { type: 'Digits', individual_digits: true };

const sequence = (...nodes: TokenizerNode[]): TokenizerNode => ({ type: 'Sequence', pretokenizers: nodes });
const split = (pattern: string): TokenizerNode => ({
  type: 'Split',
  pattern: { Regex: pattern },
  behavior: 'Isolated',
  invert: false,
});

const WORDS = (numbers: string) =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${numbers}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

interface PreTokenization {
  preTokenizer: TokenizerNode;
  normalizer: TokenizerNode | null;
  /** Whole words of the vocabulary are taken as they are, without merging. */
  ignoreMerges: boolean;
  /** Whether the family begins texts with BOS when the file does not say. */
  addBos: boolean;
}

const plain = (preTokenizer: TokenizerNode): PreTokenization => ({
  preTokenizer,
  normalizer: null,
  ignoreMerges: false,
  addBos: false,
});
const llama3: PreTokenization = {
  ...plain(sequence(split(WORDS('\\p{N}{1,3}')), BYTES_ONLY)),
  ignoreMerges: true,
  addBos: true,
};
const digitsApart = plain(sequence(DIGITS, GPT2));

/** By the name that GGUF files give under tokenizer.ggml.pre. */
const BY_NAME: Readonly<Record<string, PreTokenization>> = {
  default: plain(GPT2),
  'gpt-2': plain(GPT2),
  gpt2: plain(GPT2),
  smollm: digitsApart,
  starcoder: digitsApart,
  refact: digitsApart,
  codeshell: digitsApart,
  'llama-bpe': llama3,
  llama3,
  'llama-v3': llama3,
  qwen2: { ...plain(sequence(split(WORDS('\\p{N}')), BYTES_ONLY)), normalizer: { type: 'NFC' } },
};

export function preTokenizationOf(name: string | null): PreTokenization | undefined {
  return BY_NAME[name ?? 'default'];
}

export const PRE_TOKENIZER_NAMES: readonly string[] = Object.keys(BY_NAME);
