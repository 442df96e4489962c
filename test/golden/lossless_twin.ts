import { encodeHuffman } from './huffman_twin.ts';
import { dtypeBytes, type GoldenShape } from './int8_twin.ts';

/** The slow obvious twin of native/engine/kv/lossless.cc, written from docs/design/0011 alone. */

const PLAIN = 0;
const PLANES = 1;
const ESCAPE = 15;

export function encodeLosslessHalf(raw: Uint8Array, shape: GoldenShape, tokens: number): Uint8Array {
  const size = dtypeBytes(shape.dtype);
  const perHead = tokens * shape.headDim;
  const upper = Array.from({ length: raw.length / size }, (_, index) => {
    const at = (index + 1) * size - 2;
    return raw[at]! | (raw[at + 1]! << 8);
  });
  const exponents = upper.map((bits) => (bits >> 7) & 0xff);
  const channelOf = (index: number) => Math.floor(index / perHead) * shape.headDim + (index % shape.headDim);
  const bases = new Uint8Array(shape.kvHeads * shape.headDim);
  exponents.forEach((exponent, index) => {
    bases[channelOf(index)] = Math.max(bases[channelOf(index)]!, exponent);
  });
  const steps = exponents.map((exponent, index) => Math.min(ESCAPE, bases[channelOf(index)]! - exponent));
  const rest = Uint8Array.from(upper, (bits) => ((bits >> 8) & 0x80) | (bits & 0x7f));
  const low = size === 4 ? upper.flatMap((_, index) => [raw[index * 4]!, raw[index * 4 + 1]!]) : [];
  const escaped = exponents.filter((_, index) => steps[index] === ESCAPE);
  const pairs = Uint8Array.from(
    { length: Math.ceil(steps.length / 2) },
    (_, index) => steps[2 * index]! | ((steps[2 * index + 1] ?? 0) << 4),
  );
  const count = new Uint8Array(Uint32Array.of(escaped.length).buffer);
  const planes = Buffer.concat([
    Uint8Array.of(PLANES),
    bases,
    rest,
    Uint8Array.from(low),
    count,
    Uint8Array.from(escaped),
    encodeHuffman(pairs),
  ]);
  return planes.length < 1 + raw.length ? planes : Buffer.concat([Uint8Array.of(PLAIN), raw]);
}

export function encodeLosslessBlock(raw: Uint8Array, shape: GoldenShape, tokens: number): Uint8Array {
  const middle = raw.length / 2;
  const halves = [raw.subarray(0, middle), raw.subarray(middle)].map((half) => encodeLosslessHalf(half, shape, tokens));
  const body = Buffer.concat(halves);
  return Buffer.concat([new Uint8Array(Uint32Array.of(body.length).buffer), body]);
}
