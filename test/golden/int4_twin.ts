import { BLOCK_TOKENS } from '../../core/src/index.ts';
import { encodeHuffman } from './huffman_twin.ts';
import {
  bf16FromFloat,
  dtypeBytes,
  type GoldenShape,
  rawBlockBytes,
  readElement,
  roundHalfEven,
  writeElement,
} from './int8_twin.ts';
import { encodeLosslessHalf } from './lossless_twin.ts';

/** The slow obvious twin of native/engine/kv/int4.cc, written from docs/design/0011 alone. */

const KEYS = 2;
const VALUES = 3;
const f = Math.fround;

function roundedToBf16(value: number): number {
  const bits = new DataView(new ArrayBuffer(4));
  bits.setUint32(0, bf16FromFloat(value) << 16);
  return bits.getFloat32(0);
}

const inverseOf = (step: number) => (step > 0 && Number.isFinite(f(1 / step)) ? f(1 / step) : 0);
const clamp = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value));

interface Coded {
  /** As bf16, in stored order. */
  scales: number[];
  /** [tokens][channels] */
  codes: number[];
  decoded: number[];
}

function quantizeKeys(x: number[], tokens: number, channels: number): Coded {
  const column = (c: number) => Array.from({ length: tokens }, (_, t) => x[t * channels + c]!);
  const ends = Array.from({ length: channels }, (_, c) => [Math.min(...column(c)), Math.max(...column(c))] as const);
  const ranges = ends.map(([least, most]) => f(most - least));
  const average = f(ranges.reduce((sum, range) => f(sum + range), 0) / channels);
  const zeros = ends.map(([least, most]) => roundedToBf16(f(f(0.5 * least) + f(0.5 * most))));
  const steps = ranges.map((range) =>
    roundedToBf16(Math.max(f(f(f(Math.sqrt(range)) * f(Math.sqrt(average))) / 14), f(range / 30))),
  );
  const codes = x.map((value, index) => {
    const c = index % channels;
    return 16 + roundHalfEven(clamp(f(f(value - zeros[c]!) * inverseOf(steps[c]!)), -16, 15));
  });
  const decoded = codes.map((code, index) => {
    const c = index % channels;
    return f(zeros[c]! + f((code - 16) * steps[c]!));
  });
  return { scales: zeros.flatMap((zero, c) => [zero, steps[c]!]), codes, decoded };
}

function quantizeValues(x: number[], tokens: number, channels: number): Coded {
  const scales = Array.from({ length: tokens }, (_, t) => {
    const row = x.slice(t * channels, (t + 1) * channels);
    return roundedToBf16(f(Math.max(...row.map(Math.abs)) / 6));
  });
  const stepOf = (index: number) => scales[Math.floor(index / channels)]!;
  const codes = x.map((value, index) => 8 + roundHalfEven(clamp(f(value * inverseOf(stepOf(index))), -7, 7)));
  return { scales, codes, decoded: codes.map((code, index) => f((code - 8) * stepOf(index))) };
}

function encodeHalf(raw: Uint8Array, shape: GoldenShape, tokens: number, keys: boolean) {
  const { kvHeads, headDim, dtype } = shape;
  const size = dtypeBytes(dtype);
  const source = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const x = Array.from({ length: raw.length / size }, (_, index) => readElement(source, index * size, dtype));
  const perHead = tokens * headDim;
  const heads = Array.from({ length: kvHeads }, (_, head) => {
    const own = x.slice(head * perHead, (head + 1) * perHead);
    return keys ? quantizeKeys(own, tokens, headDim) : quantizeValues(own, tokens, headDim);
  });
  const codes = heads.flatMap((head) => head.codes);
  const scales = Uint16Array.from(
    heads.flatMap((head) => head.scales),
    bf16FromFloat,
  );
  const low = new Uint8Array(keys ? Math.ceil(codes.length / 8) : 0);
  if (keys)
    codes.forEach((code, index) => {
      low[index >> 3]! |= (code & 1) << (index & 7);
    });
  const nibbles = keys ? codes.map((code) => code >> 1) : codes;
  const pairs = Uint8Array.from(
    { length: Math.ceil(nibbles.length / 2) },
    (_, index) => nibbles[2 * index]! | ((nibbles[2 * index + 1] ?? 0) << 4),
  );
  const encoded = Buffer.concat([
    Uint8Array.of(keys ? KEYS : VALUES),
    new Uint8Array(scales.buffer),
    low,
    encodeHuffman(pairs),
  ]);
  if (encoded.length >= 1 + raw.length) return { encoded: encodeLosslessHalf(raw, shape, tokens), decoded: raw };
  const decoded = new Uint8Array(raw.length);
  heads
    .flatMap((head) => head.decoded)
    .forEach((value, index) => {
      writeElement(new DataView(decoded.buffer), index * size, dtype, value);
    });
  return { encoded, decoded };
}

export function encodeInt4Block(raw: Uint8Array, shape: GoldenShape, tokens: number) {
  if (tokens < 1 || tokens > BLOCK_TOKENS || raw.length !== rawBlockBytes(shape, tokens)) throw new RangeError('size');
  const middle = raw.length / 2;
  const halves = [
    encodeHalf(raw.slice(0, middle), shape, tokens, true),
    encodeHalf(raw.slice(middle), shape, tokens, false),
  ];
  const body = Buffer.concat(halves.map((half) => half.encoded));
  return {
    encoded: Buffer.concat([new Uint8Array(Uint32Array.of(body.length).buffer), body]),
    decoded: Buffer.concat(halves.map((half) => half.decoded)),
  };
}
