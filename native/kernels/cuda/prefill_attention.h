// Causal prefill attention over paged keys and values, dense or over listed blocks. bf16.
//
// One launcher for every card and shape: head_dim 64, 96 and 128 have a kernel for Hopper (sm_90a); what it does not serve (other cards from sm_80 on,
// head_dim 256, a sliding window) runs on a plainer one. head_dim is any multiple of 8 up to 256.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/paged_kv.h"
#include "kernels/cuda/prefill_tiles.h"

namespace longshore::cuda {

// out[r][h] = softmax over the keys at or before row r's position (of listed blocks) of scale * q[r][h].k, times v.
struct PrefillAttention {
  const bf16* q;             // [rows][heads][head_dim]
  bf16* out;                 // [rows][heads][head_dim]; only rows of tiles are written
  int64_t rows;
  int32_t heads;
  int32_t kv_heads;          // divides heads; query head h reads kv head h / (heads / kv_heads)
  int32_t head_dim;
  PagedKv kv;
  const PrefillTile* tiles;  // device, [tile_count]
  int32_t tile_count;
  int32_t section_kv_heads;  // kv heads worked on at a time; divides kv_heads. Choose it so that their keys and values fit in L2
  float scale;
  int32_t sliding_window;    // a row reads its own token and the sliding_window - 1 before it; 0: all
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
  bool plain = false;        // take the plain kernel everywhere; it never takes the second look but reads all that is listed
};

// Errors: cudaErrorInvalidValue for shapes it does not serve, cudaErrorNotSupported before sm_80, and what the launch reports.
cudaError_t LaunchPrefillAttention(const PrefillAttention& params, cudaStream_t stream);

}  // namespace longshore::cuda
