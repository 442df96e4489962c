import { bytesOfByteLevelPiece } from './byte-alphabet.ts';

export interface AddedToken {
  id: number;
  content: string;
  /** Control tokens never show in text. */
  special: boolean;
}

/** How vocabulary entries spell bytes: GPT-2's alphabet, or SentencePiece's (▁ is a space, <0x0A> one byte). */
export type Spelling = 'byte_level' | 'sentencepiece' | 'plain';

const encoder = new TextEncoder();
const BYTE_PIECE = /^<0x([0-9A-Fa-f]{2})>$/;

function bytesOfPiece(piece: string, spelling: Spelling): Uint8Array {
  if (spelling === 'byte_level') return bytesOfByteLevelPiece(piece) ?? encoder.encode(piece);
  if (spelling === 'plain') return encoder.encode(piece);
  const byte = BYTE_PIECE.exec(piece)?.[1];
  return byte === undefined ? encoder.encode(piece.replaceAll('▁', ' ')) : Uint8Array.of(Number.parseInt(byte, 16));
}

/** Bytes of every token id; undefined for control tokens and for ids without an entry. */
export function tokenByteTable(
  pieces: ReadonlyMap<number, string>,
  added: readonly AddedToken[],
  spelling: Spelling,
): Array<Uint8Array | undefined> {
  const table: Array<Uint8Array | undefined> = [];
  for (const [id, piece] of pieces) table[id] = bytesOfPiece(piece, spelling);
  for (const { id, content, special } of added) table[id] = special ? undefined : encoder.encode(content);
  return table;
}
