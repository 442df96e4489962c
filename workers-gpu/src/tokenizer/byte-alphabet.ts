/**
 * GPT-2's printable alphabet: vocabularies of byte-level BPE write every byte as one character. Printable Latin-1 stands for
 * itself, the other bytes in order for U+0100, U+0101, …
 */
const PRINTABLE: ReadonlyArray<readonly [number, number]> = [
  [0x21, 0x7e],
  [0xa1, 0xac],
  [0xae, 0xff],
];

const BYTE_OF_CHARACTER = new Map<string, number>();
let next = 0x100;
for (let byte = 0; byte < 256; byte++) {
  const printable = PRINTABLE.some(([low, high]) => byte >= low && byte <= high);
  BYTE_OF_CHARACTER.set(String.fromCharCode(printable ? byte : next++), byte);
}

/** undefined when the piece holds a character outside the alphabet. */
export function bytesOfByteLevelPiece(piece: string): Uint8Array | undefined {
  const bytes = new Uint8Array(piece.length);
  for (let index = 0; index < piece.length; index++) {
    const byte = BYTE_OF_CHARACTER.get(piece[index]!);
    if (byte === undefined) return undefined;
    bytes[index] = byte;
  }
  return bytes;
}
