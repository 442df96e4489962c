// Causal prefill attention over paged keys and values, dense or over listed blocks. Hopper (sm_90a), bf16, head_dim 128.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/paged_kv.h"
#include "kernels/cuda/prefill_tiles.h"

namespace longshore::cuda {

// out[r][h] = softmax over the keys at or before row r's position (of listed blocks) of scale * q[r][h].k, times v.
struct PrefillAttention {
  const bf16* q;             // [rows][heads][128]
  bf16* out;                 // [rows][heads][128]; only rows of tiles are written
  int64_t rows;
  int32_t heads;
  int32_t kv_heads;          // divides heads; query head h reads kv head h / (heads / kv_heads)
  PagedKv kv;
  const PrefillTile* tiles;  // device, [tile_count]
  int32_t tile_count;
  int32_t section_kv_heads;  // kv heads worked on at a time; divides kv_heads. Choose it so that their keys and values fit in L2
  float scale;
  // The listed blocks, or null for dense. Bit b % 32 of word b / 32 lists block b; the tile's own block must be listed, later blocks
  // must not. The index of one (head, tile) is mask_words words, and mask_count says how many bits are set.
  const uint32_t* mask;      // device, [heads][tile_count][mask_words]
  const int32_t* mask_count; // device, [heads][tile_count]
  int32_t mask_words;
  // The second look, only with a mask and off at 0: a listed block's values are left out for 64 query rows at a time when none of these
  // rows gives it tau of the mass that the row has met so far. What is met first counts less than all, so every block that
  // gets tau of some row's final mass is read. The first `sink` blocks and the last `window` are always read.
  float tau;
  int32_t sink, window;      // blocks
  uint32_t* read_mask;       // device, [heads][tile_count][2][mask_words] zeros, or null: which blocks each 64 rows read
  int32_t* read_count;       // device, [heads][tile_count][2], or null: how many
  int32_t* schedule;         // device, two zeros; zero again when the kernel has finished
};

// Errors: cudaErrorInvalidValue for shapes it does not serve, cudaErrorNotSupported before sm_90, and what the launch reports.
cudaError_t LaunchPrefillAttention(const PrefillAttention& params, cudaStream_t stream);

}  // namespace longshore::cuda
