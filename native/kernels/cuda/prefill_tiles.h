// The work list of a prefill call: one tile per aligned query block of each sequence.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace longshore::cuda {

// 128 query rows at the positions of one block: position 128 * query_block + r is row `row + r` of the packed queries. Tiles are
// aligned to positions, not to the chunk, so that a row's arithmetic never depends on how the prompt was split; a chunk that
// starts or ends inside a block has tiles of which only rows [first, last) are its own, and `row` may then be negative.
struct alignas(16) PrefillTile {
  int32_t row;
  int16_t first, last;
  int32_t query_block;
  int32_t sequence;  // row of the block table
};

// Rows [row, row + length) of the packed queries are the positions [start, start + length) of one sequence.
struct PrefillChunk {
  int32_t row;
  int32_t start;
  int32_t length;
};

// Tiles of all chunks (chunk i is sequence i), longest first, so that the short ones fill the end of the schedule.
std::vector<PrefillTile> PlanPrefillTiles(std::span<const PrefillChunk> chunks);

}  // namespace longshore::cuda
