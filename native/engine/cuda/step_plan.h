// A step's items as the card works on them: rows, tiles of prefill, tables of blocks. Host arithmetic alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "kernels/cuda/prefill_tiles.h"

namespace longshore::cuda {

// Rows of the step: the tokens of items with several ("prefill"), item after item; then one row for each item with a single token
// ("decode"). Row r of the block table is sequence r: the prefill items in that order, then the decode items.
struct StepPlan {
  // Consecutive prefill sequences whose attention is computed together; a tile's `sequence` counts from first_sequence.
  struct Group {
    uint32_t first_sequence = 0;
    uint32_t first_tile = 0, tiles = 0;    // of `tiles`: the sparse ones, then the others, each longest first
    uint32_t sparse_tiles = 0;             // whole query blocks that end beyond the policy's min_tokens
    uint32_t first_block = 0, blocks = 0;  // of `blocks`: every block of its sequences, if any tile is sparse
    uint32_t max_blocks = 0;               // of its longest sequence
  };

  std::vector<int32_t> tokens, positions;  // [rows]
  uint32_t prefill_rows = 0, prefill_sequences = 0, decodes = 0;
  uint32_t max_blocks = 0;                 // of the longest sequence
  std::vector<PrefillTile> tiles;          // of all groups
  std::vector<PrefillTile> decode_tiles;   // one row each, where its key and value go; `sequence` counts the decode sequences
  std::vector<PrefillTile> blocks;
  std::vector<Group> groups;
  std::vector<int32_t> lengths;            // [decodes] tokens, the row's own among them
  uint32_t max_length = 0;                 // of them
  std::vector<uint32_t> order;             // item of each sequence

  uint32_t rows() const { return prefill_rows + decodes; }
  uint32_t sequences() const { return prefill_sequences + decodes; }

  // Rows whose logits are wanted, each with the item and the token of the item it belongs to.
  struct Wanted {
    uint32_t row, item, token;
  };
  std::vector<Wanted> wanted;
};

// `sparse_after`: query blocks that end at or below are dense. `group_sequences`: the most in a group, at least 1.
StepPlan PlanStep(std::span<const StepItem> items, uint64_t sparse_after, uint32_t group_sequences);

}  // namespace longshore::cuda
