#include "engine/sparse/block_index.h"

#include "engine/kv/bf16.h"

namespace longshore {
namespace {

constexpr uint64_t RoundUp(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

}  // namespace

Status BlockIndex::Allocate(const KvPool& pool, const Needs& needs) {
  pool_ = &pool;
  needs_ = needs;
  const KvPool::Shape& s = pool.shape();
  depth_ = (s.head_dim + 3) / 4 * 4;
  value_offset_ = RoundUp(s.head_dim, 16);
  scale_offset_ = value_offset_ + (needs.values ? RoundUp(s.head_dim, 16) : 0);
  code_offset_ = scale_offset_ + (needs.codes ? kBlockTokens : 0);
  entry_floats_ = code_offset_ + (needs.codes ? uint64_t{depth_} * kBlockTokens / 4 : 0);
  const uint64_t entries = uint64_t{s.blocks} * s.layers * s.kv_heads;
  if (Status st = memory_.Allocate(entries * entry_floats_ * sizeof(float), "the block index"); !st.ok()) return st;
  built_.assign(entries, 0);
  return Status::Ok();
}

void BlockIndex::Build(const kernels::KernelTable& kernels, uint32_t block, uint32_t layer, uint32_t head) {
  const uint64_t entry = Entry(block, layer, head);
  float* mean = memory_.as<float>() + entry * entry_floats_;
  const KvPool::Shape& s = pool_->shape();
  const auto kind = s.dtype == KvDtype::kF32 ? kernels::KvKind::kF32 : kernels::KvKind::kBf16;
  kernels.encode_keys[static_cast<size_t>(kind)](pool_->KTile(block, layer, head), s.head_dim, mean,
                                                 needs_.codes ? reinterpret_cast<uint8_t*>(mean + code_offset_) : nullptr, mean + scale_offset_);
  if (needs_.values) MeanOfBlock(*pool_, block, layer, head, kBlockTokens, nullptr, mean + value_offset_);
  built_[entry] = pool_->Version(block, layer) + 1;
}

kernels::KeyCodes BlockIndex::codes(uint32_t block, uint32_t layer, uint32_t head) const {
  const float* entry = at(block, layer, head);
  return {reinterpret_cast<const uint8_t*>(entry + code_offset_), entry + scale_offset_};
}

void MeanOfBlock(const KvPool& pool, uint32_t block, uint32_t layer, uint32_t head, uint32_t tokens, float* key, float* value) {
  const uint32_t d = pool.shape().head_dim, padded = pool.padded();
  const bool f32 = pool.shape().dtype == KvDtype::kF32;
  const void* k = pool.KTile(block, layer, head);
  const void* v = pool.VTile(block, layer, head);
  const float inverse = 1.f / static_cast<float>(tokens);
  for (uint32_t c = 0; c < d; ++c) {
    float key_sum = 0.f, value_sum = 0.f;
    for (uint32_t t = 0; t < tokens; ++t) {
      if (f32) {
        key_sum += static_cast<const float*>(k)[size_t{c} * kBlockTokens + t];
        value_sum += static_cast<const float*>(v)[size_t{t} * padded + c];
      } else {
        key_sum += FloatOfBf16(static_cast<const uint16_t*>(k)[(size_t{c / 2} * kBlockTokens + t) * 2 + c % 2]);
        value_sum += FloatOfBf16(static_cast<const uint16_t*>(v)[(size_t{t / 2} * padded + c) * 2 + t % 2]);
      }
    }
    if (key) key[c] = key_sum * inverse;
    if (value) value[c] = value_sum * inverse;
  }
}

}  // namespace longshore
