#include "engine/decode/sketch_index.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <thread>

#include "engine/formats/half.h"
#include "engine/philox.h"

namespace longshore {
namespace {

constexpr uint64_t kRotationSeed = 0x6c6f6e6773686f72;  // any fixed number; part of the numerics

uint16_t ToBf16(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

}  // namespace

Status SketchIndex::Allocate(const KvPool& pool) {
  const KvPool::Shape& shape = pool.shape();
  if (shape.dtype != KvDtype::kBf16) return {Code::kUnsupported, "sketches need a KV pool of bf16; choose the decode policy \"dense\" or kv_dtype bf16"};
  pool_ = &pool;
  depth_ = std::max(16u, std::bit_ceil(shape.head_dim));
  row_ = pool.padded();
  factor_offset_ = uint64_t{groups()} * 64;
  mean_offset_ = factor_offset_ + kBlockTokens * 2;
  sketch_bytes_ = (mean_offset_ + row_ * 2 + 63) / 64 * 64;
  signs_.resize(depth_);
  const float scale = 1.f / std::sqrt(static_cast<float>(depth_));
  for (uint32_t i = 0; i < depth_; ++i) signs_[i] = UniformAt(kRotationSeed, i) < 0.5 ? scale : -scale;
  const uint64_t entries = uint64_t{shape.blocks} * shape.layers * shape.kv_heads;
  built_ = std::make_unique<std::atomic<uint64_t>[]>(entries);
  if (Status s = sketches_.Allocate(entries * sketch_bytes_, "key sketches"); !s.ok()) return s;
  return keys_.Allocate(entries * kBlockTokens * row_ * 2, "keys beside their sketches");
}

void SketchIndex::Rotate(const float* x, float* out) const {
  const uint32_t d = pool_->shape().head_dim;
  for (uint32_t i = 0; i < depth_; ++i) out[i] = i < d ? x[i] * signs_[i] : 0.f;
  for (uint32_t width = 1; width < depth_; width *= 2)
    for (uint32_t i = 0; i < depth_; i += 2 * width)
      for (uint32_t j = i; j < i + width; ++j) {
        const float a = out[j], b = out[j + width];
        out[j] = a + b;
        out[j + width] = a - b;
      }
}

void SketchIndex::Ensure(uint32_t block, uint32_t layer, uint32_t head) {
  std::atomic<uint64_t>& built = built_[Entry(block, layer, head)];
  const uint64_t wanted = uint64_t{pool_->Version(block, layer)} + 1;
  for (uint64_t seen = built.load(std::memory_order_acquire); seen != wanted;) {
    if (seen == kBuilding) {
      std::this_thread::yield();
      seen = built.load(std::memory_order_acquire);
    } else if (built.compare_exchange_weak(seen, kBuilding, std::memory_order_acquire)) {
      Build(block, layer, head);
      built.store(wanted, std::memory_order_release);
      return;
    }
  }
}

void SketchIndex::Build(uint32_t block, uint32_t layer, uint32_t head) {
  const uint32_t d = pool_->shape().head_dim;
  uint8_t* entry = sketches_.data() + Entry(block, layer, head) * sketch_bytes_;
  auto* factors = reinterpret_cast<uint16_t*>(entry + factor_offset_);
  auto* mean = reinterpret_cast<uint16_t*>(entry + mean_offset_);
  uint16_t* keys = keys_.as<uint16_t>() + Entry(block, layer, head) * kBlockTokens * row_;
  const auto* tile = static_cast<const uint16_t*>(pool_->KTile(block, layer, head));  // [head_dim / 2][128][2]
  for (uint32_t c = 0; c < d; c += 2)
    for (uint32_t t = 0; t < kBlockTokens; ++t) std::memcpy(keys + size_t{t} * row_ + c, tile + (size_t{c} / 2 * kBlockTokens + t) * 2, 4);
  std::array<float, kernels::kMaxHeadDim> centre{}, difference{}, rotated{};
  for (uint32_t t = 0; t < kBlockTokens; ++t)
    for (uint32_t c = 0; c < d; ++c) centre[c] += Bf16ToF32(keys[size_t{t} * row_ + c]);
  for (uint32_t c = 0; c < d; ++c) {
    mean[c] = ToBf16(centre[c] / kBlockTokens);
    centre[c] = Bf16ToF32(mean[c]);
  }
  std::memset(entry, 0, factor_offset_);
  for (uint32_t t = 0; t < kBlockTokens; ++t) {
    float squares = 0.f, absolute = 0.f;
    for (uint32_t c = 0; c < d; ++c) {
      difference[c] = Bf16ToF32(keys[size_t{t} * row_ + c]) - centre[c];
      squares += difference[c] * difference[c];
    }
    Rotate(difference.data(), rotated.data());
    const uint32_t half = t / 64, within = t % 64;
    uint8_t* byte = entry + within % 32 * 2 + within / 32;
    for (uint32_t g = 0; g < groups(); ++g) {
      uint32_t bits = 0;
      for (uint32_t i = 0; i < 4; ++i) {
        absolute += std::fabs(rotated[4 * g + i]);
        bits |= static_cast<uint32_t>(!(rotated[4 * g + i] < 0.f)) << i;
      }
      byte[size_t{g} * 64] |= static_cast<uint8_t>(bits << (4 * half));
    }
    factors[t] = F32ToF16(absolute > 0.f ? squares / absolute : 0.f);
  }
}

}  // namespace longshore
