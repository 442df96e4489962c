// Sparse prefill of a step: by the model's policy, per layer, head and aligned block of 128 queries (docs/design/0017).
//
// A selection is made from the rows of its query block that the step computes and from keys at or before them. A block that a step
// computes whole therefore has the same bits in any step; one computed in parts, or by decoding, is provisional until it is
// computed again whole.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "engine/sparse/query_block.h"
#include "engine/sparse/selection_counts.h"

namespace longshore {

class SparseAttention {
 public:
  struct Shape {
    uint32_t heads, kv_heads, head_dim;
    bool exact;
    float scale;  // of queries: log2(e) times the softmax scale
  };

  // `policy` outlives this. Without a table nothing is allocated and every row is dense. `others`: policies that Use will name.
  Status Allocate(const Shape& shape, const AttentionPolicy& policy, const KvPool& pool, uint32_t threads, uint32_t max_tokens,
                  std::span<const AttentionPolicy> others = {});
  // Another policy from here on, with counts from zero: the one that Allocate got, or one of its `others` that has a table.
  void Use(const AttentionPolicy& policy);
  const Shape& shape() const { return shape_; }
  uint64_t bytes() const { return memory_.size() + index_.bytes() + means_.bytes(); }

  // Splits a step's items: what is dense whatever the layer (single tokens, blocks that end at or below min_tokens), and the rest.
  void Plan(std::span<const AttentionItem> items);
  std::span<const AttentionItem> dense_items() const { return dense_; }
  bool empty() const { return sparse_.empty(); }

  // The sparse rows of a layer; arguments as Attention::Run.
  void Run(ThreadPool& threads, const kernels::KernelTable& kernels, uint32_t layer, const float* q, size_t q_stride, float* out, size_t out_stride,
           const std::atomic<int32_t>* cancel);

  // Sets the sparse counters of `stats` to what all runs so far did.
  void ReportCounts(EngineStats* stats) const;
  const SelectionCounts& counts() const { return *counts_; }
  // For tests and statistics of one request; null: off. Called from the pool's threads.
  void set_observer(SelectionObserver* observer) { observer_ = observer; }

 private:
  struct LayerNeeds {
    bool means = false;
  };
  void RunItem(ThreadPool& threads, const AttentionItem& item, const SparseLayer& layer, const float* q, size_t q_stride, float* out, size_t out_stride);
  void RunHead(const SparseLayer& layer, const QueryBlock& unit, UnitScratch* scratch, float* out, size_t out_stride);
  bool Choose(const SparseLayer& layer, const QueryBlock& unit, const HeadPolicy& policy, UnitScratch* scratch) const;

  Shape shape_{};
  const AttentionPolicy* policy_ = nullptr;
  const KvPool* pool_ = nullptr;
  kernels::KvKind kind_{};
  BlockIndex index_;
  MeanTiles means_;
  AlignedBuffer memory_;
  std::vector<UnitScratch> scratch_;
  std::vector<LayerNeeds> needs_;                 // [layers]
  std::vector<AttentionItem> dense_, sparse_;
  std::unique_ptr<SelectionCounts> counts_;
  SelectionObserver* observer_ = nullptr;
};

}  // namespace longshore
