// The transformer's graph: from the tokens of a step to hidden states and logits.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/attention.h"
#include "engine/decode/graph_attention.h"
#include "engine/decode/sketch_attention.h"
#include "engine/model.h"
#include "engine/sparse/sparse_attention.h"

namespace longshore {

class AttentionProbe;

// A step's rows: the tokens of all items, one after the other.
struct ForwardBatch {
  std::vector<uint32_t> tokens;
  std::vector<uint32_t> positions;
  std::vector<AttentionItem> items;
};

class Forward {
 public:
  // Rows of logits computed at a time.
  static constexpr uint32_t kLogitRows = 16;

  Status Allocate(const Model& model, KvPool& kv, ThreadPool& threads, const kernels::KernelTable& kernels, uint32_t max_tokens,
                  const AttentionPolicy& policy, const DecodePolicy& decode, bool exact);
  const SparseAttention& sparse() const { return sparse_; }
  // Looks at the attention of what runs from here on; null: nobody does.
  void set_probe(AttentionProbe* probe) { probe_ = probe; }
  DecodeStats decode_stats() const;
  // A block's KV was written from outside.
  void Restored(uint32_t block, uint32_t layer) { graph_.Forget(block, layer); }
  // Sees the queries of every layer of every run, after rotation and once the KV of the batch is in the pool: rows [stride] of the batch, heads
  // side by side. For measurements; null: nobody.
  using QueryObserver = std::function<void(uint32_t layer, const ForwardBatch& batch, const float* q, size_t stride)>;
  void set_query_observer(QueryObserver observer) { query_observer_ = std::move(observer); }
  uint64_t attention_ns() const { return attention_ns_; }  // wall time of all runs
  uint64_t scratch_bytes() const;

  // Runs all layers and writes the KV of the batch. Returns false when cancelled (the KV of these positions is then undefined).
  bool Run(const ForwardBatch& batch, const std::atomic<int32_t>* cancel);

  // Logits of rows of the last Run, in chunks: calls use(index into rows, logits [vocab]) in order. Returns false when cancelled.
  bool Logits(std::span<const uint32_t> rows, const std::function<void(size_t, const float*)>& use, const std::atomic<int32_t>* cancel);

 private:
  template <typename Fn>
  void ForRows(uint32_t rows, const Fn& fn);
  void AttentionBlock(uint32_t layer, const ForwardBatch& batch);
  void MlpBlock(uint32_t layer, uint32_t rows);
  void Add(const PackedMatrix& weight, Activations& x, uint32_t rows, const std::vector<float>& post_norm);
  bool Cancelled() const { return cancel_ && cancel_->load(std::memory_order_relaxed) != 0; }
  void RotateAndStore(uint32_t layer, const ForwardBatch& batch, uint32_t row);
  void NormAndQuantize(const std::vector<float>& norm, std::span<const PackedMatrix* const> matrices, const float* x, uint32_t row);

  const Model* model_ = nullptr;
  KvPool* kv_ = nullptr;
  ThreadPool* threads_ = nullptr;
  const kernels::KernelTable* kernels_ = nullptr;
  Attention attention_;
  SparseAttention sparse_;
  SketchAttention sketches_;
  GraphAttention graph_;
  AttentionProbe* probe_ = nullptr;
  QueryObserver query_observer_;
  uint64_t attention_ns_ = 0;
  // Strides in floats, whole panels of 16.
  size_t hidden_stride_ = 0, qkv_stride_ = 0, mlp_stride_ = 0, vocab_stride_ = 0;
  size_t k_offset_ = 0, v_offset_ = 0;
  AlignedBuffer memory_;
  float* hidden_ = nullptr;     // [tokens][hidden_stride] the residual stream
  float* qkv_ = nullptr;        // [tokens][qkv_stride]
  float* gate_ = nullptr;       // [tokens][mlp_stride]
  float* up_ = nullptr;         // [tokens][mlp_stride]
  float* branch_ = nullptr;     // [tokens][hidden_stride] what is added to hidden_, post_norms families only
  float* cos_[2] = {};          // [tokens][rope_dims/2] of full and of sliding layers
  float* sin_[2] = {};
  float* logits_ = nullptr;     // [kLogitRows][vocab_stride]
  Activations normed_;          // inputs of qkv, gate, up, output
  Activations attended_;        // inputs of o
  Activations gated_;           // inputs of down
  std::vector<float*> scratch_; // per thread, exact mode
  const std::atomic<int32_t>* cancel_ = nullptr;  // of the running call
};

}  // namespace longshore
