// The lossless codec of one half (the keys or the values) of a block: docs/design/0011-codecs.md.
//
// The 8 bits of sign and upper mantissa are noise and stay as they are. The exponents of one channel lie close together: each becomes a step
// of 0..14 below the channel's largest (15: escaped), and pairs of steps get a Huffman code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/kv/codec_rows.h"
#include "engine/kv/half.h"

namespace longshore {

size_t MostLosslessBytes(const HalfShape& half);
size_t LeastLosslessBytes(const HalfShape& half);

// raw: half.raw_bytes(); out: at least MostLosslessBytes; scratch: HalfScratch::Bytes. Returns the bytes written: what does not get smaller is stored as it is.
size_t EncodeLossless(const HalfShape& half, std::span<const uint8_t> raw, std::span<uint8_t> out, std::span<uint8_t> scratch,
                      const CodecKernels& kernels, const CodecRows& rows);

// Reads one half from the start of `in`; returns the bytes read, or 0 where no encoder wrote them.
size_t DecodeLossless(const HalfShape& half, std::span<const uint8_t> in, std::span<uint8_t> raw, std::span<uint8_t> scratch,
                      const CodecKernels& kernels, const CodecRows& rows);

}  // namespace longshore
