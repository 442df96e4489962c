#include "kernels/cuda/prefill_tiles.h"

#include <algorithm>

#include "kernels/cuda/paged_kv.h"

namespace longshore::cuda {

std::vector<PrefillTile> PlanPrefillTiles(std::span<const PrefillChunk> chunks) {
  std::vector<PrefillTile> tiles;
  for (size_t sequence = 0; sequence < chunks.size(); sequence++) {
    const PrefillChunk& chunk = chunks[sequence];
    const int32_t end = chunk.start + chunk.length;
    for (int32_t block = chunk.start / kBlockTokens; block * kBlockTokens < end; block++) {
      const int32_t position = block * kBlockTokens;
      PrefillTile tile;
      tile.row = chunk.row + position - chunk.start;
      tile.first = static_cast<int16_t>(std::max(0, chunk.start - position));
      tile.last = static_cast<int16_t>(std::min(kBlockTokens, end - position));
      tile.query_block = block;
      tile.sequence = static_cast<int32_t>(sequence);
      if (tile.first < tile.last) tiles.push_back(tile);
    }
  }
  std::stable_sort(tiles.begin(), tiles.end(), [](const PrefillTile& a, const PrefillTile& b) { return a.query_block > b.query_block; });
  return tiles;
}

}  // namespace longshore::cuda
