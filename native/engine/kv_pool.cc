#include "engine/kv_pool.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

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
  versions_.reset(new (std::nothrow) std::atomic<uint32_t>[size_t{shape.blocks} * shape.layers]());
  if (!versions_) return {Code::kOutOfMemory, "no memory for the KV pool's versions"};
  return memory_.Allocate(uint64_t{shape.blocks} * shape.layers * shape.kv_heads * (k_bytes_ + v_bytes_), "the KV pool");
}

void KvPool::Populate(const std::atomic<bool>& stop) {
  constexpr uint64_t kPart = 4u << 20;  // a millisecond or so
  for (uint64_t at = 0; at < memory_.size() && !stop; at += kPart) {
    if (!memory_.Populate(at, std::min(kPart, memory_.size() - at))) return;
  }
}

void KvPool::Write(uint32_t block, uint32_t layer, uint32_t slot, const float* key, const float* value) {
  Touch(block, layer);
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

namespace {

// An element of a buffer without alignment.
template <typename T>
T Get(const uint8_t* p, size_t index) {
  T x;
  std::memcpy(&x, p + index * sizeof(T), sizeof(T));
  return x;
}
template <typename T>
void Put(uint8_t* p, size_t index, T x) {
  std::memcpy(p + index * sizeof(T), &x, sizeof(T));
}

// pool [columns][kBlockTokens] <-> raw [tokens][columns].
template <typename T, bool kToPool, typename Raw>
void Transpose(uint8_t* pool, Raw* raw, uint32_t tokens, uint32_t columns) {
  for (uint32_t c = 0; c < columns; ++c)
    for (uint32_t t = 0; t < tokens; ++t) {
      if constexpr (kToPool) Put(pool, size_t{c} * kBlockTokens + t, Get<T>(raw, size_t{t} * columns + c));
      else Put(raw, size_t{t} * columns + c, Get<T>(pool, size_t{c} * kBlockTokens + t));
    }
}

// pool [tokens/2][padded][2] <-> raw [tokens][d].
template <bool kToPool, typename Raw>
void InterleavePairs(uint8_t* pool, Raw* raw, uint32_t tokens, uint32_t d, uint32_t padded) {
  for (uint32_t t = 0; t < tokens; t += 2) {
    uint8_t* pairs = pool + size_t{t} * padded * 2;
    Raw* first = raw + size_t{t} * d * 2;
    Raw* second = t + 1 < tokens ? first + size_t{d} * 2 : nullptr;
    if (!second) {
      for (uint32_t c = 0; c < d; ++c) {
        if constexpr (kToPool) Put(pairs, 2 * size_t{c}, Get<uint16_t>(first, c));
        else Put(first, c, Get<uint16_t>(pairs, 2 * size_t{c}));
      }
      return;
    }
    for (uint32_t c = 0; c < d; ++c) {
      if constexpr (kToPool) {
        Put(pairs, c, static_cast<uint32_t>(Get<uint16_t>(first, c) | uint32_t{Get<uint16_t>(second, c)} << 16));
      } else {
        const uint32_t both = Get<uint32_t>(pairs, c);
        Put(first, c, static_cast<uint16_t>(both));
        Put(second, c, static_cast<uint16_t>(both >> 16));
      }
    }
  }
}

}  // namespace

template <typename T, bool kToPool>
void KvPool::CopyRaw(uint32_t block, uint32_t layer, uint32_t tokens, uint8_t* pool, std::conditional_t<kToPool, const uint8_t, uint8_t>* raw) const {
  const uint32_t d = shape_.head_dim;
  const size_t head_bytes = size_t{tokens} * d * sizeof(T), half = shape_.kv_heads * head_bytes;
  for (uint32_t h = 0; h < shape_.kv_heads; ++h) {
    uint8_t* k = pool + Offset(block, layer, h);
    uint8_t* v = k + k_bytes_;
    auto* raw_k = raw + h * head_bytes;
    auto* raw_v = raw + half + h * head_bytes;
    if constexpr (sizeof(T) == 4) {
      Transpose<uint32_t, kToPool>(k, raw_k, tokens, d);
      for (uint32_t t = 0; t < tokens; ++t) {
        if constexpr (kToPool) std::memcpy(v + size_t{t} * padded_ * 4, raw_v + size_t{t} * d * 4, size_t{d} * 4);
        else std::memcpy(raw_v + size_t{t} * d * 4, v + size_t{t} * padded_ * 4, size_t{d} * 4);
      }
    } else {
      Transpose<uint32_t, kToPool>(k, raw_k, tokens, d / 2);  // a pair of channels is one 32-bit word on both sides
      InterleavePairs<kToPool>(v, raw_v, tokens, d, padded_);
    }
  }
}

void KvPool::ReadKeyRows(uint32_t block, uint32_t layer, uint32_t head, uint32_t row, uint16_t* to) const {
  const auto* tile = static_cast<const uint16_t*>(KTile(block, layer, head));
  for (uint32_t c = 0; c < shape_.head_dim; c += 2)
    for (uint32_t t = 0; t < kBlockTokens; ++t) std::memcpy(to + size_t{t} * row + c, tile + (size_t{c} / 2 * kBlockTokens + t) * 2, 4);
}

void KvPool::Read(uint32_t block, uint32_t layer, uint32_t tokens, uint8_t* dst) const {
  uint8_t* pool = const_cast<uint8_t*>(memory_.data());  // only read
  if (shape_.dtype == KvDtype::kF32) CopyRaw<float, false>(block, layer, tokens, pool, dst);
  else CopyRaw<uint16_t, false>(block, layer, tokens, pool, dst);
}

void KvPool::WriteRaw(uint32_t block, uint32_t layer, uint32_t tokens, const uint8_t* src) {
  Touch(block, layer);
  if (shape_.dtype == KvDtype::kF32) CopyRaw<float, true>(block, layer, tokens, memory_.data(), src);
  else CopyRaw<uint16_t, true>(block, layer, tokens, memory_.data(), src);
}

}  // namespace longshore
