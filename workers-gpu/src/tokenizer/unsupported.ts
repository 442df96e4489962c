/** The model's tokenizer or chat template cannot be used; the message says which part and what would be supported. */
export class UnsupportedTokenizerError extends Error {
  override readonly name = 'UnsupportedTokenizerError';
}
