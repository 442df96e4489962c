import { BLOCK_TOKENS, type KvDtype } from '../../core/src/index.ts';

/**
 * The slow obvious twin of native/engine/kv/codec.cc, written from docs/design/0001 alone: what the golden objects hold is
 * what the document says, not what one implementation does.
 */
export interface GoldenShape {
  kvHeads: number;
  headDim: number;
  dtype: KvDtype;
}

export const dtypeBytes = (dtype: KvDtype): number => (dtype === 'bf16' ? 2 : 4);

/** Bytes of one raw block of one layer: [K then V][kv_heads][tokens][head_dim]. */
export function rawBlockBytes(shape: GoldenShape, tokens: number): number {
  return 2 * shape.kvHeads * tokens * shape.headDim * dtypeBytes(shape.dtype);
}

export function bf16FromFloat(value: number): number {
  const bits = new DataView(new ArrayBuffer(4));
  bits.setFloat32(0, value);
  const word = bits.getUint32(0);
  return ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff;
}

export function writeElement(view: DataView, at: number, dtype: KvDtype, value: number): void {
  if (dtype === 'bf16') view.setUint16(at, bf16FromFloat(value), true);
  else view.setFloat32(at, value, true);
}

export function readElement(view: DataView, at: number, dtype: KvDtype): number {
  if (dtype === 'f32') return view.getFloat32(at, true);
  const bits = new DataView(new ArrayBuffer(4));
  bits.setUint32(0, view.getUint16(at, true) << 16);
  return bits.getFloat32(0);
}

export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const fraction = value - floor;
  if (fraction !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

interface Quantized {
  scales: Float32Array;
  /** [tokens][head_dim] */
  codes: Int8Array;
}

/** `groupOf` says which scale an element (token, channel) uses. */
function quantize(
  values: Float32Array,
  headDim: number,
  groups: number,
  groupOf: (token: number, channel: number) => number,
): Quantized {
  const scales = new Float32Array(groups);
  for (let index = 0; index < values.length; index++) {
    const group = groupOf(Math.floor(index / headDim), index % headDim);
    scales[group] = Math.max(scales[group]!, Math.abs(values[index]!));
  }
  for (let group = 0; group < groups; group++) scales[group] = Math.fround(scales[group]! / 127);
  const codes = new Int8Array(values.length);
  for (let index = 0; index < values.length; index++) {
    const scale = scales[groupOf(Math.floor(index / headDim), index % headDim)]!;
    codes[index] = scale === 0 ? 0 : roundHalfEven(Math.fround(values[index]! / scale));
  }
  return { scales, codes };
}

/** One layer's block under int8, and what a reader gets back from it, in the shape's dtype. */
export function encodeInt8Block(
  raw: Uint8Array,
  shape: GoldenShape,
  tokens: number,
): { encoded: Uint8Array; decoded: Uint8Array } {
  if (tokens < 1 || tokens > BLOCK_TOKENS || raw.length !== rawBlockBytes(shape, tokens)) throw new RangeError('size');
  const { kvHeads, headDim, dtype } = shape;
  const source = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  const decoded = new Uint8Array(raw.length);
  const target = new DataView(decoded.buffer);
  const parts: Uint8Array[] = [];
  for (let half = 0; half < 2; half++) {
    for (let head = 0; head < kvHeads; head++) {
      const first = (half * kvHeads + head) * tokens * headDim;
      const values = Float32Array.from({ length: tokens * headDim }, (_, index) =>
        readElement(source, (first + index) * dtypeBytes(dtype), dtype),
      );
      const keys = half === 0;
      const groupOf = (token: number, channel: number) => (keys ? channel : token);
      const { scales, codes } = quantize(values, headDim, keys ? headDim : tokens, groupOf);
      const scaleBytes = new DataView(new ArrayBuffer(4 * scales.length));
      scales.forEach((scale, index) => {
        scaleBytes.setFloat32(4 * index, scale, true);
      });
      parts.push(new Uint8Array(scaleBytes.buffer), new Uint8Array(codes.buffer));
      codes.forEach((code, index) => {
        const scale = scales[groupOf(Math.floor(index / headDim), index % headDim)]!;
        writeElement(target, (first + index) * dtypeBytes(dtype), dtype, Math.fround(code * scale));
      });
    }
  }
  return { encoded: Buffer.concat(parts), decoded };
}
