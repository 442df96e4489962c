// The first look of the block_energy prefill policy: which key blocks each query block reads.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/kv_write.h"

namespace longshore::cuda {

// Energy of key block b for one (head, tile): sum over the tile's valid rows r of exp(scale * (q_r.mean_b - max over b' of q_r.mean_b')),
// b and b' at or before the tile's own block. A block is listed when its energy is at least alpha times the largest of the tile, or
// it is one of the first `sink` blocks, or of the last `window` up to the tile's own. Every tile is decided from keys at or
// before its own block, so the choice is prefix-pure.
struct BlockEnergy {
  const bf16* q;             // [rows][heads][head_dim]
  int64_t rows;
  int32_t heads;
  int32_t kv_heads;
  int32_t head_dim;          // as PrefillAttention
  BlockMeans means;
  const PrefillTile* tiles;  // device, [tile_count]; no query_block may exceed max_query_block
  int32_t tile_count;
  int32_t max_query_block;   // at most 8191: 1M tokens
  float scale;
  float alpha;
  int32_t sink;              // blocks
  int32_t window;            // blocks, at least 1
  uint32_t* mask;            // device, [heads][tile_count][mask_words]; words past the tile's own block are not written
  int32_t* mask_count;       // device, [heads][tile_count]
  int32_t mask_words;        // > max_query_block / 32
  bool plain = false;        // take the plain kernel everywhere
};

// Errors: as LaunchPrefillAttention.
cudaError_t LaunchBlockEnergy(const BlockEnergy& params, cudaStream_t stream);

}  // namespace longshore::cuda
