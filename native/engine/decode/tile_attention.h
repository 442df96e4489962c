// Exact attention of one query over whole tiles and over single keys of a sequence: the parts that a sparse decode policy merges.
#pragma once

#include <span>

#include "engine/attention.h"

namespace longshore {

// One query row and its sum so far, (m, l, o) by log-sum-exp. One per thread.
class TileAttention {
 public:
  Status Allocate(const KvPool& pool);
  uint64_t bytes() const { return memory_.size(); }

  // Begins a row: q [head_dim], scaled by log2(e) times the softmax scale.
  void Start(const kernels::KernelTable& kernels, const AttentionItem& item, uint32_t layer, uint32_t kv_head, const float* q);
  const float* query() const { return row_; }  // [padded]
  // Adds tiles of the sequence, in order.
  void AddTiles(const kernels::KernelTable& kernels, std::span<const uint32_t> tiles);
  struct Key {
    float score;
    uint32_t key;    // position in the sequence
  };
  // Adds those of the keys, no two the same, whose weight is at least an even share of what may be lost of the mass, 1 - keep. Returns how
  // many; *mass is theirs relative to 2^(*best), the best score so far.
  uint32_t AddKeys(const kernels::KernelTable& kernels, std::span<const Key> keys, float keep, float* best, float* mass);
  float best() const { return sum_[0]; }
  float mass() const { return sum_[1]; }  // relative to 2^best
  void Finish(float* out) const;          // [head_dim]

 private:
  const KvPool* pool_ = nullptr;
  const AttentionItem* item_ = nullptr;
  uint32_t layer_ = 0, kv_head_ = 0, padded_ = 0;
  bool started_ = false;
  AlignedBuffer memory_;
  float *row_ = nullptr, *tile_scores_ = nullptr, *sum_ = nullptr, *part_ = nullptr;
  uint16_t* row_bf16_ = nullptr;
  void* probabilities_ = nullptr;
  std::vector<float> scores_;
  std::vector<const uint16_t*> values_;
};

}  // namespace longshore
