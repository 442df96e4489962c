import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TokenizerMetadata } from '@longshore/native';
import { ggufTokenizer } from './gguf-tokenizer.ts';
import { TextTokenizer } from './text-tokenizer.ts';
import { UnsupportedTokenizerError } from './unsupported.ts';

const EMPTY: TokenizerMetadata = {
  model: 'gpt2',
  pre: 'smollm',
  tokens: [],
  merges: null,
  scores: null,
  tokenTypes: null,
  bosId: null,
  eosId: null,
  eotId: null,
  unkId: null,
  padId: null,
  addBos: null,
  addEos: null,
  addSpacePrefix: null,
  chatTemplate: null,
};

const ALPHABET = [...'abcdefghijklmnopqrstuvwxyz0123456789ĠĊÃ©', '!'];

function byteLevel(changes: Partial<TokenizerMetadata> = {}): TextTokenizer {
  const tokens = ['<|end|>', ...ALPHABET, 'th', 'the', 'Ġthe'];
  return new TextTokenizer(
    ggufTokenizer({
      ...EMPTY,
      tokens,
      merges: ['t h', 'th e', 'Ġ the'],
      tokenTypes: Int32Array.from(tokens, (_, id) => (id === 0 ? 3 : 1)),
      bosId: 0,
      ...changes,
    }),
  );
}

test('byte-level BPE merges words, keeps control tokens whole and round-trips text', async () => {
  const tokenizer = byteLevel();
  const text = 'the the<|end|>\né';
  const ids = await tokenizer.encode(text, 'middle');
  assert.deepEqual(
    ids.map((id) => tokenizer.spell(id)),
    ['the', ' the', '<|end|>', '\n', '\ufffd', '\ufffd'],
  );
  assert.equal(tokenizer.decode(ids), text);
  assert.equal(tokenizer.bytesOf(0), undefined, 'control tokens do not show');
});

test('splits digits one by one where the model was trained so', async () => {
  const ids = await byteLevel().encode('123', 'middle');
  assert.equal(ids.length, 3);
});

test('begins a text with BOS when the file says so, and never twice', async () => {
  const tokenizer = byteLevel({ addBos: true });
  assert.equal((await tokenizer.encode('the', 'text'))[0], 0);
  assert.deepEqual(await tokenizer.encode('<|end|>the', 'template'), await tokenizer.encode('the', 'text'));
  assert.notEqual((await tokenizer.encode('the', 'middle'))[0], 0);
  assert.deepEqual(await tokenizer.encode('', 'text'), [0]);
});

test('another vocabulary has another digest', () => {
  assert.notEqual(byteLevel().digest, byteLevel({ merges: ['t h'] }).digest);
  assert.equal(byteLevel().digest, byteLevel().digest);
});

test('SentencePiece BPE follows the scores, falls back to bytes and marks spaces', async () => {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const tokens = ['<unk>', '<s>', '</s>', ...bytes, '▁', 'a', 'b', 'ab', '▁a', '▁ab', 'ba'];
  const scores = Float32Array.from(tokens, (_, id) => -id);
  const tokenizer = new TextTokenizer(
    ggufTokenizer({
      ...EMPTY,
      model: 'llama',
      tokens,
      scores,
      tokenTypes: Int32Array.from(tokens, (token, id) => (id === 0 ? 2 : id < 3 ? 3 : token.startsWith('<0x') ? 6 : 1)),
      bosId: 1,
      unkId: 0,
    }),
  );
  const ids = await tokenizer.encode('ab abé', 'text');
  assert.deepEqual(
    ids.map((id) => tokens[id]),
    ['<s>', '▁ab', '▁ab', '<0xC3>', '<0xA9>'],
  );
  assert.equal(tokenizer.decode(ids.slice(1)), ' ab abé');
});

test('refuses tokenizers it does not know by name', () => {
  assert.throws(() => ggufTokenizer({ ...EMPTY, model: 'bert' }), UnsupportedTokenizerError);
  assert.throws(() => ggufTokenizer({ ...EMPTY, pre: 'tekken', merges: [] }), /tekken/);
});
