// One query head's rows of one aligned block of 128 tokens: the unit of selection and of work of sparse prefill.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "engine/attention.h"
#include "engine/policy/attention_policy.h"
#include "engine/sparse/block_index.h"
#include "engine/sparse/mean_tiles.h"
#include "kernels/kernels.h"

namespace longshore {

// What all units of a layer share.
struct SparseLayer {
  const kernels::KernelTable* kernels;
  const KvPool* pool;
  const BlockIndex* index;
  const MeanTiles* means;
  kernels::KvKind kind;
  uint32_t layer, group;         // query heads per KV head
  float scale;                   // of queries: log2(e) times the softmax scale
  const std::atomic<int32_t>* cancel;

  uint32_t head_dim() const { return pool->shape().head_dim; }
  bool cancelled() const { return cancel && cancel->load(std::memory_order_relaxed) != 0; }
};

struct QueryBlock {
  const AttentionItem* item;
  uint32_t head;                 // query head
  uint32_t block;                // index in the sequence
  uint32_t position, rows;       // of the first row; rows of this block in the step
  const float* q;                // [rows][stride], this head's channels, after RoPE
  size_t q_stride;
};

// What a query block reads besides its own block: blocks and, from other blocks, single keys. All ascending.
struct Selection {
  std::vector<uint32_t> always;   // blocks: sink, window and the query's own
  std::vector<uint32_t> kept;     // blocks that were chosen
  std::vector<uint32_t> columns;  // keys that were chosen
  uint64_t scanned = 0;           // score entries that the second look or the estimate computed

  void Clear() {
    always.clear();
    kept.clear();
    columns.clear();
    scanned = 0;
  }
};

// One thread's buffers; bounds: kBlockTokens rows, `blocks` blocks of context.
struct UnitScratch {
  float* q;                // [rows][head_dim] scaled
  uint16_t* q_bf16;
  int8_t* q8;              // [rows][depth]
  float* q8_scale;         // [rows]
  int32_t* q8_sum;         // [rows]
  float* scores;           // [rows][128]
  void* probabilities;     // [rows][128]
  float* mean_scores;      // [tiles of blocks][rows][128]
  float* energy;           // [blocks, rounded up to 128]
  float* look_m;           // [blocks][128]
  float* look_l;           // [blocks][128]
  uint8_t* keep;           // [blocks]
  float* lines;            // [2][blocks * 128 + 256] column and diagonal sums
  float* sum;              // part: m [128], l [128], o [128][padded]
  float* part;             // likewise
  void* k_tile;            // gathered keys, values
  void* v_tile;
  bool q8_ready, started;  // of this unit: q8 holds its queries; sum holds its `always` blocks
  Selection selection, other;
  std::vector<uint32_t> order;
};

}  // namespace longshore
