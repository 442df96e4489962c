import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EngineError, readModelMetadata } from './index.ts';
import { openTiny, tinyGguf, tinyModel } from './tiny-model.ts';

test('a GGUF file and the folder it was made from describe the same model', async () => {
  const [gguf, folder] = await Promise.all([readModelMetadata(tinyGguf), readModelMetadata(tinyModel)]);
  assert.equal(gguf.container, 'gguf');
  assert.equal(folder.container, 'hf');
  assert.match(gguf.weightsFormat, /^gguf:/);
  assert.match(folder.weightsFormat, /^safetensors:/);
  for (const key of ['family', 'contextLength', 'vocab', 'layers', 'kvHeads', 'headDim', 'bosId'] as const) {
    assert.equal(gguf[key], folder[key], key);
  }
  assert.deepEqual(gguf.eosIds, folder.eosIds);
});

test('metadata agrees with the opened engine', async () => {
  const metadata = await readModelMetadata(tinyModel);
  const engine = await openTiny();
  for (const key of [
    'family',
    'name',
    'contextLength',
    'vocab',
    'layers',
    'kvHeads',
    'headDim',
    'weightsFormat',
  ] as const) {
    assert.equal(metadata[key], engine.info[key], key);
  }
  await engine.close();
});

test('a folder leaves its tokenizer to its JSON files', async () => {
  assert.equal((await readModelMetadata(tinyModel)).tokenizer, null);
});

test('what is no model rejects with a typed error', async () => {
  const typed = (error: unknown) => error instanceof EngineError && error.code === 'not_found';
  await assert.rejects(readModelMetadata('/nowhere/model.gguf'), typed);
  await assert.rejects(readModelMetadata(import.meta.dirname), typed);
  // biome-ignore lint/suspicious/noExplicitAny: an argument that the types forbid
  await assert.rejects(readModelMetadata(5 as any), (error: EngineError) => error.code === 'invalid_argument');
});

test('reads the byte-level BPE tokenizer of a GGUF file', async () => {
  const { tokenizer, vocab } = await readModelMetadata(tinyGguf);
  assert.equal(tokenizer!.model, 'gpt2');
  assert.equal(tokenizer!.pre, 'smollm');
  assert.equal(tokenizer!.tokens.length, vocab);
  assert.equal(tokenizer!.tokens[7], 't7');
  assert.deepEqual(tokenizer!.merges, ['t 0']);
  assert.equal(tokenizer!.tokenTypes!.length, vocab);
  assert.deepEqual([tokenizer!.bosId, tokenizer!.eosId], [1, 2]);
  assert.deepEqual(
    [tokenizer!.scores, tokenizer!.padId, tokenizer!.addBos, tokenizer!.chatTemplate],
    [null, null, null, null],
  );
});

/** The tiny GGUF with more key-values in front, as long in all as 32-byte alignment of what follows needs. */
function ggufWith(entries: Buffer[]): Buffer {
  const file = readFileSync(tinyGguf);
  const length = entries.reduce((sum, entry) => sum + entry.length, 0);
  const overhead = entryOf('x', 8, stringOf('')).length;
  const filler = (32 - ((length + overhead) % 32)) % 32;
  const all = [...entries, entryOf('x', 8, stringOf(' '.repeat(filler)))];
  const header = Buffer.from(file.subarray(0, 24));
  header.writeBigUInt64LE(header.readBigUInt64LE(16) + BigInt(all.length), 16);
  return Buffer.concat([header, ...all, file.subarray(24)]);
}

function stringOf(text: string): Buffer {
  const bytes = Buffer.from(text);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  return Buffer.concat([length, bytes]);
}

function entryOf(key: string, type: number, value: Buffer): Buffer {
  const kind = Buffer.alloc(4);
  kind.writeUInt32LE(type);
  return Buffer.concat([stringOf(key), kind, value]);
}

test('reads scores, flags, special ids and the chat template of a SentencePiece GGUF', async () => {
  const floats = Buffer.alloc(4 + 8 + 8);
  floats.writeUInt32LE(6, 0);
  floats.writeBigUInt64LE(2n, 4);
  floats.writeFloatLE(-1.5, 12);
  floats.writeFloatLE(-2.25, 16);
  const id = (value: number) => Buffer.from(Uint32Array.of(value).buffer);
  const folder = mkdtempSync(join(tmpdir(), 'longshore-metadata-'));
  const path = join(folder, 'more.gguf');
  writeFileSync(
    path,
    ggufWith([
      entryOf('tokenizer.ggml.scores', 9, floats),
      entryOf('tokenizer.ggml.add_bos_token', 7, Buffer.of(1)),
      entryOf('tokenizer.ggml.add_eos_token', 7, Buffer.of(0)),
      entryOf('tokenizer.ggml.add_space_prefix', 7, Buffer.of(1)),
      entryOf('tokenizer.ggml.padding_token_id', 4, id(5)),
      entryOf('tokenizer.ggml.unknown_token_id', 4, id(6)),
      entryOf('tokenizer.ggml.eot_token_id', 5, id(7)),
      entryOf('tokenizer.chat_template', 8, stringOf('{% for m in messages %}é{% endfor %}')),
    ]),
  );
  try {
    const { tokenizer } = await readModelMetadata(path);
    assert.deepEqual(tokenizer!.scores, Float32Array.of(-1.5, -2.25));
    assert.deepEqual([tokenizer!.addBos, tokenizer!.addEos, tokenizer!.addSpacePrefix], [true, false, true]);
    assert.deepEqual([tokenizer!.padId, tokenizer!.unkId, tokenizer!.eotId], [5, 6, 7]);
    assert.equal(tokenizer!.chatTemplate, '{% for m in messages %}é{% endfor %}');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
