// Queries of some positions, kept beside their blocks: what an index over keys learns from (docs/design/0026).
//
// Of every `every` positions the last one's queries, all heads, rounded to bf16. A function of the tokens up to the position, as its KV is.
// A block that was restored has none until it is computed here, or until they are restored too.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "engine/kv_pool.h"

namespace longshore {

class QuerySamples {
 public:
  // `every` divides a block's 128 tokens into at most 32 samples.
  Status Allocate(const KvPool& pool, uint32_t heads, uint32_t every);
  bool empty() const { return every_ == 0; }
  uint64_t bytes() const { return memory_.size(); }
  uint32_t per_block() const { return kBlockTokens / every_; }

  // One token's queries [heads][head_dim] after rotation; other positions than the sampled are passed over. Threads may record different slots.
  void Record(uint32_t block, uint32_t layer, uint32_t slot, const float* q);
  // The block's KV came from elsewhere: its samples are another text's.
  void Forget(uint32_t block, uint32_t layer) { present_[Entry(block, layer)].store(0, std::memory_order_relaxed); }
  bool Has(uint32_t block, uint32_t layer, uint32_t sample) const {
    return (present_[Entry(block, layer)].load(std::memory_order_relaxed) >> sample & 1) != 0;
  }
  bool Complete(uint32_t block, uint32_t layer) const {
    return present_[Entry(block, layer)].load(std::memory_order_relaxed) == UINT32_MAX >> (32 - per_block());
  }
  // [head_dim] bf16.
  const uint16_t* at(uint32_t block, uint32_t layer, uint32_t sample, uint32_t head) const {
    return memory_.as<uint16_t>() + ((Entry(block, layer) * per_block() + sample) * heads_ + head) * head_dim_;
  }

 private:
  size_t Entry(uint32_t block, uint32_t layer) const { return size_t{block} * layers_ + layer; }

  uint32_t every_ = 0, heads_ = 0, head_dim_ = 0, layers_ = 0;
  AlignedBuffer memory_;                                // [blocks][layers][per_block][heads][head_dim]
  std::unique_ptr<std::atomic<uint32_t>[]> present_;    // [blocks][layers] a bit per sample
};

}  // namespace longshore
