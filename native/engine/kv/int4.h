// The int4 codec of one half of a block: docs/design/0011-codecs.md. Keys are quantized around each channel's middle to 5-bit codes, values per
// token to 4-bit codes; Huffman codes of pairs then take what the codes' distribution leaves over.
//
// Errors: |x' - x| <= half a step, plus the rounding of x' to the dtype. Steps and middles are bf16.
#pragma once

#include "engine/kv/codec_rows.h"
#include "engine/kv/half.h"

namespace longshore {

// At least this many bytes for a half that a codec with int4 writes; the most is MostLosslessBytes.
size_t LeastInt4Bytes(const HalfShape& half, bool keys);

// Like EncodeLossless, which is also what they fall back to: where a value is not finite, or int4 takes no fewer bytes than raw.
size_t EncodeInt4(const HalfShape& half, bool keys, std::span<const uint8_t> raw, std::span<uint8_t> out, std::span<uint8_t> scratch,
                  const CodecKernels& kernels, const CodecRows& rows);
size_t DecodeInt4(const HalfShape& half, bool keys, std::span<const uint8_t> in, std::span<uint8_t> raw, std::span<uint8_t> scratch,
                  const CodecKernels& kernels, const CodecRows& rows);

}  // namespace longshore
