import { createHash } from 'node:crypto';
import { Tokenizer } from 'tokenizers';
import { type AddedToken, type Spelling, tokenByteTable } from './token-bytes.ts';

export interface TokenizerDefinition {
  /** Content of a Hugging Face tokenizer.json. */
  json: string;
  added: readonly AddedToken[];
  spelling: Spelling;
  bosId: number | null;
  /** Begin every text with BOS; null leaves it to the definition's own post-processor. */
  addBos: boolean | null;
}

/** Text to token ids (off the event loop) and token ids to bytes (at once, from a table). */
export class TextTokenizer {
  /** "sha256:<hex>" of the definition: part of the cache identity. */
  readonly digest: string;
  readonly bosId: number | null;
  private readonly tokenizer: Tokenizer;
  private readonly addBos: boolean | null;
  private readonly table: ReadonlyArray<Uint8Array | undefined>;
  private readonly special = new Map<number, string>();

  /** Throws when the library refuses the definition. */
  constructor(definition: TokenizerDefinition) {
    this.digest = `sha256:${createHash('sha256').update(definition.json).digest('hex')}`;
    this.tokenizer = Tokenizer.fromString(definition.json);
    this.tokenizer.disableTruncation();
    this.tokenizer.disablePadding();
    this.bosId = definition.bosId;
    this.addBos = definition.addBos;
    const pieces = new Map<number, string>();
    for (const [piece, id] of Object.entries(this.tokenizer.getVocab(true))) pieces.set(id, piece);
    this.table = tokenByteTable(pieces, definition.added, definition.spelling);
    for (const one of definition.added) if (one.special) this.special.set(one.id, one.content);
  }

  /**
   * `start`: "text" begins a sequence (BOS as the model wants it), "template" begins one whose own text brings BOS if it wants
   * one, "middle" goes on. A BOS is never doubled.
   */
  async encode(text: string, start: 'text' | 'template' | 'middle'): Promise<number[]> {
    if (text === '') return start !== 'middle' && this.addBos && this.bosId !== null ? [this.bosId] : [];
    const addSpecialTokens = start === 'text' && this.addBos === null;
    const ids = (await this.tokenizer.encode(text, null, { addSpecialTokens })).getIds();
    if (this.bosId === null || start === 'middle') return ids;
    if (this.addBos && ids[0] !== this.bosId) return [this.bosId, ...ids];
    return ids[0] === this.bosId && ids[1] === this.bosId ? ids.slice(1) : ids;
  }

  /** UTF-8 bytes of a token as text; undefined for control tokens. */
  readonly bytesOf = (token: number): Uint8Array | undefined => this.table[token];

  /** The token as it stands in the vocabulary's text, control tokens included. */
  spell(token: number): string {
    const bytes = this.table[token];
    return bytes === undefined ? (this.special.get(token) ?? '') : new TextDecoder().decode(bytes);
  }

  /** Text of the tokens, control tokens spelled out; encoding it again gives an equivalent sequence. */
  decode(tokens: readonly number[]): string {
    const parts: Uint8Array[] = [];
    const encoder = new TextEncoder();
    for (const token of tokens) parts.push(this.table[token] ?? encoder.encode(this.special.get(token) ?? ''));
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.concat(parts));
  }
}
