// Sparse decode by an index over keys that learned from the prefill's queries: a step's single tokens over long contexts (docs/design/0026).
//
// Per query head: the graphs of the sequence's segments are searched, what they scored is attended together with sink, window and
// what has no graph (the few blocks behind the last segment, restored blocks), which are read whole; parts merge by log-sum-exp. The result depends on the sequence's KV and
// sampled queries alone: graphs are functions of their segments, searches and merges have a fixed order, threads share heads and segments.
#pragma once

#include <atomic>
#include <span>
#include <vector>

#include "engine/decode/decode_policy.h"
#include "engine/decode/graph_search.h"
#include "engine/decode/graph_segments.h"
#include "engine/decode/sketch_attention.h"
#include "engine/decode/tile_attention.h"

namespace longshore {

class GraphAttention {
 public:
  // With another policy nothing is allocated. kUnsupported for pools that do not hold bf16.
  Status Allocate(const SketchAttention::Shape& shape, const DecodePolicy& policy, const KvPool& pool, uint32_t threads);
  uint64_t bytes() const;

  // Takes the items that the policy covers; dense_items() are the rest.
  void Plan(std::span<const AttentionItem> items);
  uint32_t dense_layers() const { return sparse_.empty() ? 0 : policy_.dense_layers; }
  bool empty(uint32_t layer) const { return sparse_.empty() || layer < policy_.dense_layers; }
  std::span<const AttentionItem> dense_items() const { return dense_; }

  // Arguments as Attention::Run.
  void Run(ThreadPool& threads, const kernels::KernelTable& kernels, uint32_t layer, const float* q, size_t q_stride, float* out,
           size_t out_stride, const std::atomic<int32_t>* cancel);

  // The queries of any step's token, for later graphs.
  void Record(uint32_t block, uint32_t layer, uint32_t slot, const float* q) {
    if (!samples_.empty()) samples_.Record(block, layer, slot, q);
  }
  void Forget(uint32_t block, uint32_t layer) {
    if (!samples_.empty()) samples_.Forget(block, layer);
  }

  const DecodeCounts& counts() const { return counts_; }
  const GraphSegments& segments() const { return segments_; }

 private:
  struct Range { uint32_t sink, window, tiles; };  // blocks: [0, sink) and [window, tiles) are always attended
  struct Scratch {
    GraphSearch search;
    TileAttention attention;
    std::vector<GraphPart> parts;
    std::vector<std::vector<uint16_t>> doors;  // [parts]
    std::vector<TileAttention::Key> keys;
  };
  Range Around(const AttentionItem& item) const;
  void Prepare(ThreadPool& threads, const kernels::KernelTable& kernels, const AttentionItem& item, const Range& around, uint32_t layer, const std::atomic<int32_t>* cancel);
  void Attend(const kernels::KernelTable& kernels, const AttentionItem& item, const Range& around, uint32_t layer, uint32_t head, Scratch* scratch, float* out);
  double MiddleMass(const kernels::KernelTable& kernels, const Range& around, uint32_t head, float best) const;

  SketchAttention::Shape shape_{};
  DecodePolicy policy_;
  const KvPool* pool_ = nullptr;
  uint32_t group_ = 1;
  QuerySamples samples_;
  GraphSegments segments_;
  std::vector<AttentionItem> dense_, sparse_;
  std::vector<Scratch> scratch_;                // [threads]
  // Of the item at hand.
  std::vector<float> queries_;                  // [heads][padded] scaled
  std::vector<GraphSegments::Cut> cuts_;
  std::vector<uint32_t> whole_;                 // tiles that are read whole
  std::vector<const std::vector<SegmentHead>*> segments_of_item_;  // [cuts]
  DecodeCounts counts_;
};

}  // namespace longshore
