// Codecs of stored KV blocks, as docs/design/0001-stored-block-format.md defines them byte for byte.
//
// raw: the pool's bytes. int8: keys quantized per channel over the block's tokens, values per token; half the bytes of bf16.
// Error of int8: |x' - x| <= max|x| / 254 over the channel (keys) or the token (values), plus the rounding of x' to the dtype.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/kv/shape.h"

namespace longshore {

enum class KvCodec : uint32_t { kRaw = 1, kInt8 = 2 };

// The codec of block `index` of a section: under int8 the chain's very first block, which holds the attention sink, stays raw.
inline KvCodec BlockCodec(KvCodec codec, uint64_t first_token, size_t index) {
  return first_token == 0 && index == 0 ? KvCodec::kRaw : codec;
}

// Bytes of one encoded block of one layer. tokens: 1..128.
size_t EncodedBlockBytes(KvCodec codec, const KvShape& shape, uint32_t tokens);

// raw: shape.RawBytes(tokens); encoded: EncodedBlockBytes(codec, shape, tokens). The spans' sizes must be exactly these.
// Values that are not finite come back as values that are not finite or as zero.
void EncodeBlock(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> raw, std::span<uint8_t> encoded);
void DecodeBlock(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> encoded, std::span<uint8_t> raw);

}  // namespace longshore
