// Codecs of stored KV blocks, as docs/design/0001-stored-block-format.md (raw, int8) and 0011-codecs.md define them byte for byte.
//
// raw: the pool's bytes. lossless: the same bits in about two thirds of the bytes. int8: keys quantized per channel over the block's
// tokens, values per token; half the bytes of bf16. Error of int8: |x' - x| <= max|x| / 254 over the channel (keys) or the token
// (values), plus the rounding of x' to the dtype. int4: about a quarter of bf16's bytes (int4.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "engine/kv/codec_rows.h"
#include "engine/kv/shape.h"

namespace longshore {

enum class KvCodec : uint32_t { kRaw = 1, kInt8 = 2, kLossless = 3, kInt4 = 4 };

// "raw", "int8", "lossless", "int4".
std::optional<KvCodec> KvCodecNamed(std::string_view name);
std::optional<KvCodec> KvCodecOfId(uint32_t id);

// The codec of block `index` of a section: the chain's very first block, which holds the attention sink, is never quantized.
inline KvCodec BlockCodec(KvCodec codec, uint64_t first_token, size_t index) {
  if (first_token != 0 || index != 0) return codec;
  return codec == KvCodec::kInt8 ? KvCodec::kRaw : codec == KvCodec::kInt4 ? KvCodec::kLossless : codec;
}

// Blocks of one shape all have the same size; those of the other codecs begin with a u32 that says how many bytes follow it.
inline bool HasFixedSize(KvCodec codec) { return codec == KvCodec::kRaw || codec == KvCodec::kInt8; }

// The most bytes of one encoded block of one layer; exactly its bytes where the size is fixed. tokens: 1..128.
size_t MostBlockBytes(KvCodec codec, const KvShape& shape, uint32_t tokens);
// The fewest, which bounds what a few hostile bytes can claim to decode to.
size_t LeastBlockBytes(KvCodec codec, const KvShape& shape, uint32_t tokens);

// Bytes of the block that starts at `bytes`; 0 when they are fewer than it needs, or its length is not one that an encoder writes.
size_t BlockBytesAt(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> bytes);

// Working memory of one encoder or decoder. 0 for raw and int8.
size_t CodecScratchBytes(KvCodec codec, const KvShape& shape);

// raw: shape.RawBytes(tokens); encoded: MostBlockBytes(codec, shape, tokens); scratch: CodecScratchBytes(codec, shape), any contents.
// Returns the bytes written. Under int8, values that are not
// finite come back as values that are not finite or as zero; int4 keeps a half that has some as it is.
size_t EncodeBlock(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> raw, std::span<uint8_t> encoded,
                   std::span<uint8_t> scratch, const CodecKernels& kernels);

// encoded: exactly one block (BlockBytesAt). False when its bytes are not an encoder's; `raw` then holds anything. Time is bounded by
// the block's raw size, whatever the bytes are.
[[nodiscard]] bool DecodeBlock(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> encoded, std::span<uint8_t> raw,
                               std::span<uint8_t> scratch, const CodecKernels& kernels);

}  // namespace longshore
