// What sparse attention keeps beside the KV pool: per complete block, layer and KV head the mean key, the mean value and the keys'
// 8-bit codes. A pure function of the block's KV, made when first asked for and made again when the block was written since.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/kv_pool.h"
#include "kernels/kernels.h"

namespace longshore {

class BlockIndex {
 public:
  struct Needs {
    bool codes = false;    // 8-bit keys: a quarter of the bytes of a bf16 block
    bool values = false;   // mean values
  };

  Status Allocate(const KvPool& pool, const Needs& needs);
  uint64_t bytes() const { return memory_.size(); }

  bool Stale(uint32_t block, uint32_t layer, uint32_t head) const { return built_[Entry(block, layer, head)] != pool_->Version(block, layer) + 1; }
  // The block must be complete. Threads may build different entries at once.
  void Build(const kernels::KernelTable& kernels, uint32_t block, uint32_t layer, uint32_t head);

  const float* mean_key(uint32_t block, uint32_t layer, uint32_t head) const { return at(block, layer, head); }                    // [head_dim]
  const float* mean_value(uint32_t block, uint32_t layer, uint32_t head) const { return at(block, layer, head) + value_offset_; }  // [head_dim]
  kernels::KeyCodes codes(uint32_t block, uint32_t layer, uint32_t head) const;
  uint32_t depth() const { return depth_; }

 private:
  uint64_t Entry(uint32_t block, uint32_t layer, uint32_t head) const {
    return (uint64_t{block} * pool_->shape().layers + layer) * pool_->shape().kv_heads + head;
  }
  const float* at(uint32_t block, uint32_t layer, uint32_t head) const { return memory_.as<float>() + Entry(block, layer, head) * entry_floats_; }

  const KvPool* pool_ = nullptr;
  Needs needs_;
  uint32_t depth_ = 0;  // head_dim rounded up to 4
  uint64_t entry_floats_ = 0, value_offset_ = 0, scale_offset_ = 0, code_offset_ = 0;
  AlignedBuffer memory_;
  std::vector<uint32_t> built_;  // version of the pool's block + 1; 0: never
};

// Mean of the first `tokens` keys, and of the values where `value` is given, of a block.
void MeanOfBlock(const KvPool& pool, uint32_t block, uint32_t layer, uint32_t head, uint32_t tokens, float* key, float* value);

}  // namespace longshore
