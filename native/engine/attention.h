// Attention of a step over the paged pool: cuts it into units for the threads, runs the kernel, merges parts.
//
// Keys are taken in fixed splits of kSplitTiles aligned tiles; each split gives a part (m, l, o) and parts are merged in ascending
// order. A prefill unit walks its splits one after the other; a decode step over a long context gives each split to a
// thread and merges afterwards: the same operations in the same order, so the same bits. Sliding layers read only the tiles that
// hold the window, and never look at older entries of the block table.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/kv_pool.h"
#include "engine/thread_pool.h"
#include "kernels/kernels.h"

namespace longshore {

constexpr uint32_t kSplitTiles = 8;  // 1,024 keys

// One sequence's rows in the step's buffers.
struct AttentionItem {
  uint32_t first_row;             // of the step
  uint32_t tokens;
  uint32_t position;              // of the first one
  const uint32_t* block_table;
};

class Attention {
 public:
  struct Shape {
    uint32_t heads, kv_heads, head_dim;
    bool exact;
    double scale = 0.0;    // of scores; 0: 1 / sqrt(head_dim)
    uint32_t window = 0;   // keys that a token sees in sliding layers, itself among them; 0: no layer slides
  };

  // max_tokens bounds the context: decode parts are sized for it.
  Status Allocate(const Shape& shape, const KvPool& pool, uint32_t threads, uint32_t max_tokens);
  uint64_t bytes() const { return memory_.size(); }

  // Cuts a step's work; the same for all layers of a kind. `items`: what this computes in layers that see all tokens;
  // `sliding_items`: in sliding ones.
  void Plan(std::span<const AttentionItem> items, std::span<const AttentionItem> sliding_items, uint32_t threads);

  // q: [rows][q_stride], heads side by side, after RoPE. out: [rows][out_stride] likewise. KV of the step must be in the pool.
  // `sliding`: tokens see only the window.
  void Run(ThreadPool& threads, const kernels::KernelTable& kernels, uint32_t layer, bool sliding, const float* q, size_t q_stride, float* out,
           size_t out_stride, const std::atomic<int32_t>* cancel);

 private:
  struct Unit {
    uint32_t item, head;            // KV head
    uint32_t token, tokens;         // of the item
    uint32_t split, splits;
    int32_t part;                   // first row of parts_ that takes the result; -1: finished by the unit itself
    uint64_t cost;
  };
  struct Join { uint32_t item, head, token, tokens, splits; int32_t part; };
  struct Scratch {
    float* q;
    uint16_t* q_bf16;
    float* scores;
    void* probabilities;
    float* part[2];                 // rows of m, l, o
  };
  // Of a part of `rows` rows at p: m [rows], l [rows], o [rows][padded].
  size_t PartFloats(uint32_t rows) const { return size_t{rows} * (2 + padded_); }
  void PlanSliding(std::span<const AttentionItem> items);
  void RunUnit(const kernels::KernelTable& kernels, const Unit& unit, uint32_t layer, uint32_t window, const float* q, size_t q_stride, float* out,
               size_t out_stride, const Scratch& scratch, const std::atomic<int32_t>* cancel) const;
  void Finish(const float* part, uint32_t rows, const AttentionItem& item, uint32_t head, uint32_t token, float* out, size_t out_stride) const;

  Shape shape_{};
  const KvPool* pool_ = nullptr;
  uint32_t group_ = 0, padded_ = 0, unit_tokens_ = 0;
  kernels::KvKind kind_{};
  std::vector<AttentionItem> items_;
  std::vector<Unit> units_, sliding_units_;
  std::vector<Join> joins_;
  AlignedBuffer memory_;
  std::vector<Scratch> scratch_;
  float* parts_ = nullptr;
  size_t part_capacity_ = 0;        // floats
};

}  // namespace longshore
