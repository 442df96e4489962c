/**
 * The slow obvious twin of native/engine/kv/huffman.cc, written from docs/design/0011 alone. It may choose other code lengths than the
 * product does: any that fill the code space are right.
 */
const MAX_BITS = 12;
const STREAMS = 4;

interface Node {
  count: number;
  symbols: number[];
}

/** Lengths of at most 12 bits by Huffman's own procedure; where a tree grows too deep, on halved counts. */
function codeLengths(counts: readonly number[]): number[] {
  const lengths = new Array<number>(256).fill(0);
  let nodes: Node[] = counts.flatMap((count, symbol) => (count > 0 ? { count, symbols: [symbol] } : []));
  if (nodes.length < 2) {
    const only = nodes[0]?.symbols[0] ?? 0;
    lengths[only] = 1;
    lengths[only === 0 ? 1 : 0] = 1;
    return lengths;
  }
  while (nodes.length > 1) {
    nodes.sort((a, b) => b.count - a.count);
    const [a, b] = [nodes.pop()!, nodes.pop()!];
    for (const symbol of [...a.symbols, ...b.symbols]) lengths[symbol]!++;
    nodes = [...nodes, { count: a.count + b.count, symbols: [...a.symbols, ...b.symbols] }];
  }
  return Math.max(...lengths) <= MAX_BITS ? lengths : codeLengths(counts.map((count) => Math.ceil(count / 2)));
}

/** The code of each symbol as text of 0 and 1, most significant bit first. */
function canonicalCodes(lengths: readonly number[]): string[] {
  const codes = new Array<string>(256).fill('');
  let code = 0;
  for (let length = 1; length <= MAX_BITS; length++) {
    lengths.forEach((of, symbol) => {
      if (of === length) codes[symbol] = (code++).toString(2).padStart(length, '0');
    });
    code *= 2;
  }
  return codes;
}

function packBits(bits: string): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(bits.length / 8));
  for (let index = 0; index < bits.length; index++) bytes[index >> 3]! |= Number(bits[index]) << (index & 7);
  return bytes;
}

export function encodeHuffman(symbols: Uint8Array): Uint8Array {
  const counts = new Array<number>(256).fill(0);
  for (const symbol of symbols) counts[symbol]!++;
  const lengths = codeLengths(counts);
  const codes = canonicalCodes(lengths);
  const table = Uint8Array.from({ length: 128 }, (_, index) => lengths[2 * index]! | (lengths[2 * index + 1]! << 4));
  const size = Math.ceil(symbols.length / STREAMS);
  const streams = Array.from({ length: STREAMS }, (_, index) =>
    packBits(Array.from(symbols.subarray(index * size, (index + 1) * size), (symbol) => codes[symbol]!).join('')),
  );
  const sizes = new Uint8Array(Uint32Array.from(streams, (stream) => stream.length).buffer);
  return Buffer.concat([table, sizes, ...streams]);
}
