// The 1-bit sketches of cached keys (RaBitQ: Gao and Long, SIGMOD 2024): per complete block, layer and KV head the block's mean key,
// and per key the signs of its rotated difference from the mean with one factor that makes the estimate unbiased:
//   q.k ~ q.mean + factor * (rotated q) . signs,   factor = |r|^2 / |rotated r|_1,   r = k - mean
// The rotation is a Hadamard transform of randomly signed channels, the same for all. Sketches of a head lie side by side, so that a
// scan of blocks in the pool's order reads one stream. Apart from them the keys lie once more, a row each, since the pool's tiles
// hold a key's channels far apart. All a pure function of the block's KV: made when first asked for, and again when the block was
// written since.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/kv_pool.h"
#include "kernels/kernels.h"

namespace longshore {

constexpr uint32_t kSketchGroups = kBlockTokens / 8;  // of a block: 8 keys whose best score a scan reports

class SketchIndex {
 public:
  // Of pools of bf16 only. kUnsupported for others.
  Status Allocate(const KvPool& pool);
  uint64_t bytes() const { return sketches_.size() + keys_.size(); }

  uint32_t depth() const { return depth_; }          // head_dim rounded up to a power of two, at least 16
  uint32_t groups() const { return depth_ / 4; }
  // Bytes that a scan reads per key, and that an exact score reads.
  double scan_bytes_per_key() const { return depth_ / 8.0 + 2 + 2.0 * row_ / kBlockTokens; }
  uint32_t row_bytes() const { return 2 * row_; }

  // Makes what a complete block lacks or has from an older write. Threads may ask for the same at once: one makes it, the others wait.
  void Ensure(uint32_t block, uint32_t layer, uint32_t head);

  // x [head_dim] to [depth], orthonormal.
  void Rotate(const float* x, float* out) const;

  // As kernels::SketchScan reads it: codes, factors, mean.
  const uint8_t* sketch(uint32_t block, uint32_t layer, uint32_t head) const { return sketches_.data() + Entry(block, layer, head) * sketch_bytes_; }
  // [row_] bf16, zero behind head_dim.
  const uint16_t* mean(uint32_t block, uint32_t layer, uint32_t head) const { return reinterpret_cast<const uint16_t*>(sketch(block, layer, head) + mean_offset_); }
  const uint16_t* key(uint32_t block, uint32_t layer, uint32_t head, uint32_t slot) const {
    return keys_.as<uint16_t>() + (Entry(block, layer, head) * kBlockTokens + slot) * row_;
  }
  uint32_t row() const { return row_; }              // head_dim rounded up to 16

 private:
  uint64_t Entry(uint32_t block, uint32_t layer, uint32_t head) const {
    return (uint64_t{layer} * pool_->shape().kv_heads + head) * pool_->shape().blocks + block;
  }

  void Build(uint32_t block, uint32_t layer, uint32_t head);

  static constexpr uint64_t kBuilding = ~uint64_t{0};

  const KvPool* pool_ = nullptr;
  uint32_t depth_ = 0, row_ = 0;
  uint64_t factor_offset_ = 0, mean_offset_ = 0, sketch_bytes_ = 0;
  std::vector<float> signs_;      // [depth] +1 or -1, over sqrt(depth)
  AlignedBuffer sketches_, keys_;
  std::unique_ptr<std::atomic<uint64_t>[]> built_;  // version of the pool's block + 1; 0: never
};

}  // namespace longshore
