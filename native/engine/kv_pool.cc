#include "engine/kv_pool.h"

#include <bit>
#include <cstring>

namespace longshore {
namespace {

uint16_t RoundToBf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 64u);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

}  // namespace

Status KvPool::Allocate(const Shape& shape) {
  shape_ = shape;
  padded_ = (shape.head_dim + 15) / 16 * 16;
  k_bytes_ = (uint64_t{shape.head_dim} * kBlockTokens * ElementBytes(shape.dtype) + 63) / 64 * 64;
  v_bytes_ = uint64_t{padded_} * kBlockTokens * ElementBytes(shape.dtype);
  return memory_.Allocate(uint64_t{shape.blocks} * shape.layers * shape.kv_heads * (k_bytes_ + v_bytes_), "the KV pool");
}

void KvPool::Write(uint32_t block, uint32_t layer, uint32_t slot, const float* key, const float* value) {
  const uint32_t d = shape_.head_dim;
  for (uint32_t h = 0; h < shape_.kv_heads; ++h, key += d, value += d) {
    uint8_t* tile = memory_.data() + Offset(block, layer, h);
    if (shape_.dtype == KvDtype::kF32) {
      float* k = reinterpret_cast<float*>(tile);
      float* v = reinterpret_cast<float*>(tile + k_bytes_) + size_t{slot} * padded_;
      for (uint32_t c = 0; c < d; ++c) k[c * kBlockTokens + slot] = key[c];
      std::memcpy(v, value, d * sizeof(float));
    } else {
      uint16_t* k = reinterpret_cast<uint16_t*>(tile) + 2 * slot;
      uint16_t* v = reinterpret_cast<uint16_t*>(tile + k_bytes_) + slot / 2 * 2 * size_t{padded_} + slot % 2;
      for (uint32_t c = 0; c < d; c += 2, k += 2 * kBlockTokens) {
        k[0] = RoundToBf16(key[c]);
        k[1] = RoundToBf16(key[c + 1]);
      }
      for (uint32_t c = 0; c < d; ++c) v[2 * c] = RoundToBf16(value[c]);
    }
  }
}

template <typename T, typename Fn>
void KvPool::ForRaw(uint32_t block, uint32_t layer, uint32_t tokens, const Fn& fn) const {
  const uint32_t d = shape_.head_dim;
  const size_t half = size_t{shape_.kv_heads} * tokens * d;
  for (uint32_t h = 0; h < shape_.kv_heads; ++h) {
    const uint64_t k = Offset(block, layer, h), v = k + k_bytes_;
    for (uint32_t t = 0; t < tokens; ++t) {
      const size_t row = (size_t{h} * tokens + t) * d;
      for (uint32_t c = 0; c < d; ++c) {
        fn(k + KIndex(t, c) * sizeof(T), (row + c) * sizeof(T));
        fn(v + VIndex(t, c) * sizeof(T), (half + row + c) * sizeof(T));
      }
    }
  }
}

void KvPool::Read(uint32_t block, uint32_t layer, uint32_t tokens, uint8_t* dst) const {
  const uint8_t* pool = memory_.data();
  if (shape_.dtype == KvDtype::kF32)
    ForRaw<float>(block, layer, tokens, [&](uint64_t in, size_t raw) { std::memcpy(dst + raw, pool + in, 4); });
  else
    ForRaw<uint16_t>(block, layer, tokens, [&](uint64_t in, size_t raw) { std::memcpy(dst + raw, pool + in, 2); });
}

void KvPool::WriteRaw(uint32_t block, uint32_t layer, uint32_t tokens, const uint8_t* src) {
  uint8_t* pool = memory_.data();
  if (shape_.dtype == KvDtype::kF32)
    ForRaw<float>(block, layer, tokens, [&](uint64_t in, size_t raw) { std::memcpy(pool + in, src + raw, 4); });
  else
    ForRaw<uint16_t>(block, layer, tokens, [&](uint64_t in, size_t raw) { std::memcpy(pool + in, src + raw, 2); });
}

}  // namespace longshore
