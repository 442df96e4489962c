#include "engine/kv/codec.h"

#include <cassert>
#include <cstring>
#include <utility>

#include "engine/kv/int4.h"
#include "engine/kv/little_endian.h"
#include "engine/kv/lossless.h"

namespace longshore {
namespace {

constexpr size_t kLengthBytes = 4;

constexpr std::pair<std::string_view, KvCodec> kNames[] = {{"raw", KvCodec::kRaw}, {"int8", KvCodec::kInt8}, {"lossless", KvCodec::kLossless}, {"int4", KvCodec::kInt4}};

HalfShape HalfOf(const KvShape& shape, uint32_t tokens) { return {shape.kv_heads, tokens, shape.head_dim, static_cast<uint32_t>(shape.element_bytes())}; }

const CodecRows& RowsOf(const CodecKernels& kernels, KvDtype dtype) { return dtype == KvDtype::kF32 ? kernels.f32 : kernels.bf16; }

size_t EncodeHalves(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> raw, std::span<uint8_t> out, std::span<uint8_t> scratch, const CodecKernels& kernels) {
  const HalfShape half = HalfOf(shape, tokens);
  size_t at = kLengthBytes;
  const CodecRows& rows = RowsOf(kernels, shape.dtype);
  for (const bool keys : {true, false}) {
    const auto source = raw.subspan(keys ? 0 : half.raw_bytes(), half.raw_bytes());
    at += codec == KvCodec::kInt4 ? EncodeInt4(half, keys, source, out.subspan(at), scratch, kernels, rows)
                                  : EncodeLossless(half, source, out.subspan(at), scratch, kernels, rows);
  }
  StoreU32(out.data(), static_cast<uint32_t>(at - kLengthBytes));
  return at;
}

bool DecodeHalves(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> in, std::span<uint8_t> raw, std::span<uint8_t> scratch, const CodecKernels& kernels) {
  const HalfShape half = HalfOf(shape, tokens);
  in = in.subspan(kLengthBytes);
  const CodecRows& rows = RowsOf(kernels, shape.dtype);
  for (const bool keys : {true, false}) {
    const auto target = raw.subspan(keys ? 0 : half.raw_bytes(), half.raw_bytes());
    const size_t read = codec == KvCodec::kInt4 ? DecodeInt4(half, keys, in, target, scratch, kernels, rows) : DecodeLossless(half, in, target, scratch, kernels, rows);
    if (read == 0) return false;
    in = in.subspan(read);
  }
  return in.empty();
}

}  // namespace

std::optional<KvCodec> KvCodecNamed(std::string_view name) {
  for (const auto& [known, codec] : kNames) {
    if (known == name) return codec;
  }
  return std::nullopt;
}

std::optional<KvCodec> KvCodecOfId(uint32_t id) {
  for (const auto& [name, codec] : kNames) {
    if (static_cast<uint32_t>(codec) == id) return codec;
  }
  return std::nullopt;
}

size_t MostBlockBytes(KvCodec codec, const KvShape& shape, uint32_t tokens) {
  const size_t values = size_t{tokens} * shape.head_dim;
  switch (codec) {
    case KvCodec::kRaw: return shape.RawBytes(tokens);
    case KvCodec::kInt8: return shape.kv_heads * (2 * values + sizeof(float) * (size_t{shape.head_dim} + tokens));
    case KvCodec::kLossless:
    case KvCodec::kInt4: return kLengthBytes + 2 * MostLosslessBytes(HalfOf(shape, tokens));
  }
  return 0;
}

size_t LeastBlockBytes(KvCodec codec, const KvShape& shape, uint32_t tokens) {
  const HalfShape half = HalfOf(shape, tokens);
  if (codec == KvCodec::kLossless) return kLengthBytes + 2 * LeastLosslessBytes(half);
  if (codec == KvCodec::kInt4) return kLengthBytes + LeastInt4Bytes(half, true) + LeastInt4Bytes(half, false);
  return MostBlockBytes(codec, shape, tokens);
}

size_t BlockBytesAt(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> bytes) {
  const size_t most = MostBlockBytes(codec, shape, tokens);
  if (HasFixedSize(codec)) return bytes.size() < most ? 0 : most;
  if (bytes.size() < kLengthBytes) return 0;
  const size_t size = kLengthBytes + LoadU32(bytes.data());
  return size >= LeastBlockBytes(codec, shape, tokens) && size <= most && size <= bytes.size() ? size : 0;
}

size_t CodecScratchBytes(KvCodec codec, const KvShape& shape) {
  return HasFixedSize(codec) ? 0 : HalfScratch::Bytes(HalfOf(shape, kBlockTokens));
}

size_t EncodeBlock(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> raw, std::span<uint8_t> encoded,
                   std::span<uint8_t> scratch, const CodecKernels& kernels) {
  assert(tokens >= 1 && tokens <= kBlockTokens && shape.head_dim <= 1024);
  assert(raw.size() == shape.RawBytes(tokens) && encoded.size() >= MostBlockBytes(codec, shape, tokens) && scratch.size() >= CodecScratchBytes(codec, shape));
  switch (codec) {
    case KvCodec::kRaw: std::memcpy(encoded.data(), raw.data(), raw.size()); break;
    case KvCodec::kInt8: RowsOf(kernels, shape.dtype).encode_int8(shape.kv_heads, tokens, shape.head_dim, raw.data(), encoded.data()); break;
    case KvCodec::kLossless:
    case KvCodec::kInt4: return EncodeHalves(codec, shape, tokens, raw, encoded, scratch, kernels);
  }
  return MostBlockBytes(codec, shape, tokens);
}

bool DecodeBlock(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> encoded, std::span<uint8_t> raw, std::span<uint8_t> scratch,
                 const CodecKernels& kernels) {
  assert(tokens >= 1 && tokens <= kBlockTokens && shape.head_dim <= 1024);
  assert(raw.size() == shape.RawBytes(tokens) && scratch.size() >= CodecScratchBytes(codec, shape));
  if (BlockBytesAt(codec, shape, tokens, encoded) != encoded.size()) return false;
  switch (codec) {
    case KvCodec::kRaw: std::memcpy(raw.data(), encoded.data(), raw.size()); break;
    case KvCodec::kInt8: RowsOf(kernels, shape.dtype).decode_int8(shape.kv_heads, tokens, shape.head_dim, encoded.data(), raw.data()); break;
    case KvCodec::kLossless:
    case KvCodec::kInt4: return DecodeHalves(codec, shape, tokens, encoded, raw, scratch, kernels);
  }
  return true;
}

}  // namespace longshore
