// Sparse decode by key sketches: a step's single tokens over long contexts (docs/design/0018).
//
// Per query head: every complete block between sink and window is scanned by its sketches, the best `rescore` of the keys are scored
// exactly, and those that can hold mass are attended together with sink and window (sketch_topk); or the blocks whose mean key scores
// best are attended whole (block_topk). The result depends on the sequence alone: all
// lists are in the order of keys, threads share heads and ranges of blocks, and parts merge in a fixed order.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/attention.h"
#include "engine/decode/decode_policy.h"
#include "engine/decode/sketch_index.h"
#include "engine/thread_pool.h"
#include "kernels/kernels.h"

namespace longshore {

// Sums since Allocate, for threads to add to; see DecodeStats.
struct DecodeCounts {
  std::atomic<uint64_t> keys{0}, scanned{0}, rescored{0}, kept{0}, bytes{0}, dense_bytes{0}, measured{0};
  std::atomic<double> mass_kept{0};
};

class SketchAttention {
 public:
  struct Shape {
    uint32_t heads, kv_heads, head_dim;
    float scale;  // of queries: log2(e) times the softmax scale
  };

  // With a dense policy nothing is allocated. max_tokens bounds the context, `threads` the callers.
  Status Allocate(const Shape& shape, const DecodePolicy& policy, const KvPool& pool, uint32_t threads, uint32_t max_tokens);
  uint64_t bytes() const { return memory_.size() + index_.bytes(); }

  // Takes the items that the policy covers; dense_items() are the rest.
  void Plan(std::span<const AttentionItem> items);
  uint32_t dense_layers() const { return sparse_.empty() ? 0 : policy_.dense_layers; }
  bool empty(uint32_t layer) const { return sparse_.empty() || layer < policy_.dense_layers; }
  std::span<const AttentionItem> dense_items() const { return dense_; }
  std::span<const AttentionItem> sparse_items() const { return sparse_; }

  // Arguments as Attention::Run.
  void Run(ThreadPool& threads, const kernels::KernelTable& kernels, uint32_t layer, const float* q, size_t q_stride, float* out,
           size_t out_stride, const std::atomic<int32_t>* cancel);

  const DecodeCounts& counts() const { return counts_; }

 private:
  // What is between sink and window, in blocks of the sequence; and the tiles up to the token.
  struct Range { uint32_t first, last, tiles; };
  Range Middle(const AttentionItem& item) const;
  // A KV head of an item in one layer, with what is known of its `group_` query heads.
  struct Lane {
    float* queries;   // [group][padded] scaled
    uint8_t* tables;  // [group][groups][16]
    float *bias, *step;  // [group] of the tables
    float* scores;    // [group][max_blocks][128]
    float* best;      // [group][max_blocks][16]
  };
  struct Task {
    const kernels::KernelTable& kernels;
    const AttentionItem& item;
    Range middle;
    uint32_t layer, kv_head;
    Lane& lane;

    uint32_t blocks() const { return middle.last - middle.first; }
    uint32_t block(uint32_t place) const { return item.block_table[middle.first + place]; }  // behind middle.first
  };
  struct Scratch {
    float* row;             // [padded] scaled query
    uint16_t* row_bf16;
    float* tile_scores;     // [128]
    void* probabilities;    // [128]
    float* sum;             // part of one row: m, l, o [padded]
    float* part;
    float* exact;           // [candidates]
    const uint16_t** rows;  // [candidates]
    uint32_t* listed;       // [candidates]
    std::vector<uint32_t> tiles;
  };
  // Of the lane: query `i` of the group, from the unscaled q [head_dim].
  void Prepare(const Task& task, uint32_t i, const float* q) const;
  // Makes missing sketches of blocks [first, last) behind middle.first and scans them.
  void Scan(const Task& task, uint32_t first, uint32_t last);
  void Attend(const Task& task, uint32_t i, Scratch& scratch, float* out);
  void AttendTiles(const Task& task, std::span<const uint32_t> tiles, Scratch& scratch, bool* started) const;
  void AttendBlocks(const Task& task, uint32_t i, Scratch& scratch);
  void AttendKeys(const Task& task, uint32_t i, Scratch& scratch);
  bool Measured(const Task& task) const;
  void Count(const Task& task, uint32_t i, uint64_t scan_bytes, uint64_t own_bytes);
  float Threshold(const Task& task, uint32_t i, uint32_t wanted, float* sample) const;
  uint32_t Candidates(const Task& task, uint32_t i, uint32_t wanted, Scratch& scratch) const;
  double MiddleMass(const Task& task, uint32_t i, float m) const;

  Shape shape_{};
  DecodePolicy policy_;
  const KvPool* pool_ = nullptr;
  uint32_t group_ = 0, padded_ = 0, max_blocks_ = 0, max_candidates_ = 0;
  SketchIndex index_;
  AlignedBuffer memory_;
  std::vector<Scratch> scratch_;  // by thread
  std::vector<Lane> lanes_;       // by thread or KV head
  std::vector<AttentionItem> dense_, sparse_;
  DecodeCounts counts_;
};

}  // namespace longshore
