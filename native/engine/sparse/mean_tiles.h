// The block means of one sequence, layer and step in the order of the sequence, laid out as the pool lays out keys and values:
// a "key" of these tiles is a block. So the attention kernels score them and sum them as they do keys.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/attention.h"
#include "engine/sparse/block_index.h"
#include "engine/thread_pool.h"

namespace longshore {

class MeanTiles {
 public:
  Status Allocate(const KvPool& pool, uint32_t max_blocks, bool values);
  uint64_t bytes() const { return memory_.size(); }

  // Gathers the means of the item's blocks, those of its last, incomplete block over the keys that are there. Builds what the index lacks.
  void Gather(ThreadPool& threads, const kernels::KernelTable& kernels, const AttentionItem& item, uint32_t layer, BlockIndex& index);

  const void* KTile(uint32_t head, uint32_t tile) const { return memory_.data() + Offset(head, tile); }
  const void* VTile(uint32_t head, uint32_t tile) const { return memory_.data() + Offset(head, tile) + k_bytes_; }

  // Copies columns (blocks of the tiles, ascending, at most 128) of a head into tiles at `k` and `v`.
  void Pick(uint32_t head, const uint32_t* columns, uint32_t count, void* k, void* v) const;

 private:
  uint64_t Offset(uint32_t head, uint32_t tile) const { return (uint64_t{head} * tiles_ + tile) * (k_bytes_ + v_bytes_); }
  void Put(uint32_t head, uint32_t column, const float* key, const float* value);

  const KvPool* pool_ = nullptr;
  bool values_ = false;
  uint32_t tiles_ = 0;
  uint64_t k_bytes_ = 0, v_bytes_ = 0;
  AlignedBuffer memory_;
  std::vector<uint32_t> stale_;
};

}  // namespace longshore
