#include "engine/kv/codec.h"

#include <cassert>
#include <cmath>
#include <cstring>

#include "engine/kv/int8_rows.h"

namespace longshore {
namespace {

template <typename T>
void EncodeInt8(const KvShape& shape, uint32_t tokens, const uint8_t* raw, uint8_t* out) {
  const uint32_t d = shape.head_dim;
  const size_t head_bytes = size_t{tokens} * d * sizeof(T);
  float scales[1024];  // head_dim and tokens are at most 1024
  static_assert(kBlockTokens <= 1024);
  for (uint32_t head = 0; head < shape.kv_heads; head++, raw += head_bytes) {
    KeyScales<T>(raw, tokens, d, scales);
    std::memcpy(out, scales, d * sizeof(float));
    out += d * sizeof(float);
    for (uint32_t t = 0; t < tokens; t++, out += d) QuantizeRow<T>(raw + size_t{t} * d * sizeof(T), d, scales, 1, out);
  }
  for (uint32_t head = 0; head < shape.kv_heads; head++, raw += head_bytes) {
    ValueScales<T>(raw, tokens, d, scales);
    std::memcpy(out, scales, tokens * sizeof(float));
    out += tokens * sizeof(float);
    for (uint32_t t = 0; t < tokens; t++, out += d) QuantizeRow<T>(raw + size_t{t} * d * sizeof(T), d, scales + t, 0, out);
  }
}

template <typename T>
void DecodeInt8(const KvShape& shape, uint32_t tokens, const uint8_t* in, uint8_t* raw) {
  const uint32_t d = shape.head_dim;
  float scales[1024];
  for (uint32_t head = 0; head < shape.kv_heads; head++) {
    std::memcpy(scales, in, d * sizeof(float));
    in += d * sizeof(float);
    for (uint32_t t = 0; t < tokens; t++, in += d, raw += d * sizeof(T)) DequantizeRow<T>(in, d, scales, 1, raw);
  }
  for (uint32_t head = 0; head < shape.kv_heads; head++) {
    std::memcpy(scales, in, tokens * sizeof(float));
    in += tokens * sizeof(float);
    for (uint32_t t = 0; t < tokens; t++, in += d, raw += d * sizeof(T)) DequantizeRow<T>(in, d, scales + t, 0, raw);
  }
}

}  // namespace

size_t EncodedBlockBytes(KvCodec codec, const KvShape& shape, uint32_t tokens) {
  if (codec == KvCodec::kRaw) return shape.RawBytes(tokens);
  const size_t values = size_t{tokens} * shape.head_dim;
  return shape.kv_heads * (2 * values + sizeof(float) * (size_t{shape.head_dim} + tokens));
}

void EncodeBlock(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> raw, std::span<uint8_t> encoded) {
  assert(tokens >= 1 && tokens <= kBlockTokens && shape.head_dim <= 1024);
  assert(raw.size() == shape.RawBytes(tokens) && encoded.size() == EncodedBlockBytes(codec, shape, tokens));
  if (codec == KvCodec::kRaw) std::memcpy(encoded.data(), raw.data(), raw.size());
  else if (shape.dtype == KvDtype::kBf16) EncodeInt8<uint16_t>(shape, tokens, raw.data(), encoded.data());
  else EncodeInt8<float>(shape, tokens, raw.data(), encoded.data());
}

void DecodeBlock(KvCodec codec, const KvShape& shape, uint32_t tokens, std::span<const uint8_t> encoded, std::span<uint8_t> raw) {
  assert(tokens >= 1 && tokens <= kBlockTokens && shape.head_dim <= 1024);
  assert(raw.size() == shape.RawBytes(tokens) && encoded.size() == EncodedBlockBytes(codec, shape, tokens));
  if (codec == KvCodec::kRaw) std::memcpy(raw.data(), encoded.data(), raw.size());
  else if (shape.dtype == KvDtype::kBf16) DecodeInt8<uint16_t>(shape, tokens, encoded.data(), raw.data());
  else DecodeInt8<float>(shape, tokens, encoded.data(), raw.data());
}

}  // namespace longshore
