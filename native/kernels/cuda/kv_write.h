// Writes a chunk's keys and values into the paged pool and keeps the mean key of each block.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/paged_kv.h"
#include "kernels/cuda/prefill_tiles.h"

namespace longshore::cuda {

// Mean keys, one per block, in tiles of 128 blocks stored like a tile of keys: a tile of means is scored like a block of tokens.
struct BlockMeans {
  bf16* means;         // [sequences][kv_heads][tiles][TileElements(head_dim)], TileOffset(block % 128, channel) in a tile
  int32_t tiles;       // ceil(blocks of the longest sequence / 128)
};

struct KvWrite {
  const bf16* k;             // [rows][kv_heads][head_dim]
  const bf16* v;             // [rows][kv_heads][head_dim]
  int32_t kv_heads;
  int32_t head_dim;          // a multiple of 8, at most 256
  PagedKv kv;
  const PrefillTile* tiles;  // device, [tile_count]
  int32_t tile_count;
};

// Rows [first, last) of each tile go to the pool; the rest of the block after them becomes zeros.
cudaError_t LaunchKvWrite(const KvWrite& params, cudaStream_t stream);

// Means of the blocks of these tiles over their first `last` tokens, read from the pool.
cudaError_t LaunchBlockMeans(const PagedKv& kv, int32_t kv_heads, int32_t head_dim, const PrefillTile* tiles, int32_t tile_count, const BlockMeans& means,
                             cudaStream_t stream);

}  // namespace longshore::cuda
