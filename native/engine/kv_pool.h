// The paged KV pool: physical blocks of 128 tokens, each holding all layers and KV heads, in the layout the attention kernels read.
//
// One tile per (block, layer, KV head), K then V:
//   bf16: K [head_dim/2][128][2], V [64][padded][2]: pairs of channels (K) or of keys (V) side by side, as bf16 products take them
//   f32:  K [head_dim][128],      V [128][padded]
// padded = head_dim rounded up to 16; the padding stays zero.
#pragma once

#include <atomic>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include "engine/aligned_buffer.h"
#include "engine/engine.h"

namespace longshore {

class KvPool {
 public:
  struct Shape {
    uint32_t blocks, layers, kv_heads, head_dim;
    KvDtype dtype;
  };

  Status Allocate(const Shape& shape);
  // Backs the pool with memory part by part until done or `stop`. Beside any use of the pool.
  void Populate(const std::atomic<bool>& stop);
  void Free() {
    memory_.Free();
    versions_.reset();
  }

  const Shape& shape() const { return shape_; }
  uint32_t padded() const { return padded_; }
  uint64_t bytes() const { return memory_.size(); }
  // Without padding, all layers, K and V.
  static uint64_t BytesPerToken(const Shape& s) { return uint64_t{2} * s.layers * s.kv_heads * s.head_dim * ElementBytes(s.dtype); }
  static uint32_t ElementBytes(KvDtype d) { return d == KvDtype::kF32 ? 4 : 2; }

  const void* KTile(uint32_t block, uint32_t layer, uint32_t head) const { return memory_.data() + Offset(block, layer, head); }
  const void* VTile(uint32_t block, uint32_t layer, uint32_t head) const { return memory_.data() + Offset(block, layer, head) + k_bytes_; }

  // Changes with every write to this block and layer: what was derived from an older version is stale.
  uint32_t Version(uint32_t block, uint32_t layer) const {
    return versions_[size_t{block} * shape_.layers + layer].load(std::memory_order_relaxed);
  }

  // Writes one token's key and value [kv_heads][head_dim] (rounded to the pool's type) into a slot of a block.
  void Write(uint32_t block, uint32_t layer, uint32_t slot, const float* key, const float* value);

  // A bf16 block's keys of one head as rows [128][row], row >= head_dim; what is behind head_dim stays as it was.
  void ReadKeyRows(uint32_t block, uint32_t layer, uint32_t head, uint32_t row, uint16_t* to) const;

  // The raw form of engine.h: [K, V][kv_heads][tokens][head_dim]; sizes as checked by the engine.
  void Read(uint32_t block, uint32_t layer, uint32_t tokens, uint8_t* dst) const;
  void WriteRaw(uint32_t block, uint32_t layer, uint32_t tokens, const uint8_t* src);

 private:
  uint64_t Offset(uint32_t block, uint32_t layer, uint32_t head) const {
    return ((uint64_t{block} * shape_.layers + layer) * shape_.kv_heads + head) * (k_bytes_ + v_bytes_);
  }
  void Touch(uint32_t block, uint32_t layer) { versions_[size_t{block} * shape_.layers + layer].fetch_add(1, std::memory_order_relaxed); }
  template <typename T, bool kToPool>
  void CopyRaw(uint32_t block, uint32_t layer, uint32_t tokens, uint8_t* pool, std::conditional_t<kToPool, const uint8_t, uint8_t>* raw) const;

  Shape shape_{};
  uint32_t padded_ = 0;
  uint64_t k_bytes_ = 0, v_bytes_ = 0;
  AlignedBuffer memory_;
  std::unique_ptr<std::atomic<uint32_t>[]> versions_;  // [blocks][layers]
};

}  // namespace longshore
